use super::pixel_grid;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // An image of the models: 8 bytes written for a pixel, nothing computed.
    vec![bench("pixel_grid/512x384", 0.0, 8.0 * 512.0 * 384.0, |device| {
        let device = device.clone();
        Box::new(move || {
            std::hint::black_box(pixel_grid(&device, 512, 384, [0, 0]).expect("valid arguments"));
        })
    })]
}
