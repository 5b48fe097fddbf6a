//! Pickles in a sound archive of `torch.save` with two storages.
#![no_main]

use steropes_testkit::torch_file::archive;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let file = archive(&[("a/data.pkl", bytes), ("a/data/0", &[1; 24]), ("a/data/1", &[2; 8])]);
    steropes_fuzz::read_all(&file);
});
