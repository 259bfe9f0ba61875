"""How data are made: generators, importers, schema and leak proof, written to parquet with a manifest."""
