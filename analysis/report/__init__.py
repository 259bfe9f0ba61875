"""``tr-grpo report``: one self-contained HTML page of one or more runs (docs/report.md).

``reading`` reads the runs, ``methods`` groups them, ``curves``, ``facts``, ``tokens`` and ``sampling`` make what is
shown, ``data`` puts it together, ``page`` and ``formats`` write it.
"""
