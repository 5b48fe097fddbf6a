//! An engine with a number of threads does all its work on them. The only test of its program, because it looks at the threads of the whole
//! process.

use steropes_models::engine::{Engine, EngineConfig, Image, MatchOptions};

#[test]
fn all_work_runs_on_the_threads_of_the_engine() {
    let config = EngineConfig {
        device: Some("cpu".to_owned()),
        threads: Some(3),
        image_size: 128,
        matching: MatchOptions { subsample: 1, ..MatchOptions::default() },
        ..EngineConfig::default()
    };
    let engine = Engine::open(config).unwrap();
    assert_eq!(engine.context_info().threads, 3);
    let image = |shade: u8| {
        let bytes = (0..3 * 96 * 128u32).map(|i| ((i * 7919) >> 4) as u8 ^ shade).collect();
        Image::new([96, 128], bytes).unwrap()
    };
    engine.warm_up(1).unwrap();
    engine.infer_and_match(&image(0), &image(90)).unwrap();
    assert_eq!(engine.sequence([image(1), image(2), image(3)]).count(), 2);
    assert!(engine.install(|| rayon::current_thread_index().is_some() && rayon::current_num_threads() == 3));
    // rayon starts its shared threads when somebody first needs them, and refuses to be told how many there should be after that.
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("nobody used the shared threads");
}
