#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ctfleet_fuzz::run("frames", data));
