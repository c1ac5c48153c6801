#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| pure::any_bytes::check(body));
