"""Text that a model may write and a page must show as text."""

HOSTILE = [
    "<script>document.title='owned';alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    "<svg/onload=alert(4)>",
    "<!--",
    "]]>",
    "{{constructor.constructor('alert(5)')()}}",
    "{{data}}${alert(6)}`",
    "javascript:alert(7)",
    '" onmouseover="alert(8)',
    "&lt;b&gt;&amp;",
    "\u202eright to left\u202c\u2066isolate",
    "nul\x00here",
    "\x1b[31mred\x07",
    "line\u2028separator\u2029",
    "zero\u200bwidth\ufeff\u00ad",
    "\U000e0041tag",
    "non\ufffe\uffff",
    "e\u0301\u0302\u0303\u0304\u0305\u0306",
    "\u0301first",
    "</style><style>*{display:none}</style>",
    "  two spaces\n\tand a tab\r\n",
    "日本語 שלום مرحبا 👩‍👧",
    "",
]
SURROGATES = ["\ud800", "a\udfffb", "\udc00\ud800"]
"""Lone surrogates: parquet cannot hold them, Python and JSON can."""
