COMMENT ON FUNCTION advisory_key(text[]) IS
'advisory lock key (bigint) of one name: the first 8 bytes of the SHA-256 of its parts in UTF-8, joined with ''-''';
