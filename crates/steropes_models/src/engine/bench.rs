//! Benches of an engine: images in a row, beside the same pairs one by one.

use super::{Engine, EngineConfig, Image};
use crate::mast3r::{large_model, work};
use crate::{Model, ModelError, Precision};
use steropes_tensor::Device;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch, bench, f16_bench};

const IMAGES: usize = 20;

/// The benches of this module.
pub fn benches() -> Vec<Bench> {
    vec![
        tiny("engine/sequence_20_images", IMAGES, sequence),
        tiny("engine/pairs_apart_20_images", 2 * (IMAGES - 1), apart),
        large("engine/large_sequence_20_images_f16", IMAGES, sequence),
        large("engine/large_pairs_apart_20_images_f16", 2 * (IMAGES - 1), apart),
    ]
}

type Run = fn(&Engine, &[Image]) -> Result<(), ModelError>;

/// Each image encoded once, pairs in batches.
fn sequence(engine: &Engine, images: &[Image]) -> Result<(), ModelError> {
    engine.sequence(images.iter().cloned()).try_for_each(|pair| pair.map(drop))
}

/// Each pair by itself.
fn apart(engine: &Engine, images: &[Image]) -> Result<(), ModelError> {
    images.windows(2).try_for_each(|pair| engine.infer(&pair[0], &pair[1]).map(drop))
}

/// The embedded network.
fn tiny(name: &'static str, encoded: usize, run: Run) -> Bench {
    let size = [288, 384];
    let [flops, bytes] = work(false, encoded, 2 * (IMAGES - 1), size);
    bench(name, flops, bytes, move |device| {
        launch(Model::embedded(device, Precision::F32).expect("the model fits the device"), size, run)
    })
}

/// The published ViT-L with generated weights, on a GPU.
fn large(name: &'static str, encoded: usize, run: Run) -> Bench {
    let size = [384, 512];
    let [flops, bytes] = work(true, encoded, 2 * (IMAGES - 1), size);
    f16_bench(name, flops, bytes, move |device: &Device| {
        launch(large_model(device, Precision::F16), size, run)
    })
}

fn launch(model: Model, size: [usize; 2], run: Run) -> Launch {
    let config = EngineConfig { image_size: size[1] as u32, ..EngineConfig::default() };
    let engine = Engine::with_model(config, model).expect("sound settings");
    let image = |i: usize| {
        let values = uniform(&format!("engine/{i}"), 3 * size[0] * size[1]);
        let bytes = values.iter().map(|v| (127.5 * (v + 1.0)) as u8).collect();
        Image::new(size, bytes).expect("three bytes per pixel")
    };
    let images: Vec<Image> = (0..IMAGES).map(image).collect();
    Box::new(move || run(&engine, &images).expect("valid images"))
}
