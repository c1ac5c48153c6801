#![no_main]

libfuzzer_sys::fuzz_target!(|array: pure::any_array::Array| pure::any_array::check(array));
