use super::copy;
use half::f16;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // The residual stream of MASt3R ViT-L at 512 x 384.
        bench("copy/mast3r_encoder", 0.0, 8.0 * 768.0 * 1024.0, move |device| {
            let x =
                Tensor::new(device, &[768, 1024], uniform("x", 768 * 1024)).expect("a value for each place");
            Box::new(move || drop(std::hint::black_box(copy(&x).expect("memory for it"))))
        }),
        // What the device's memory gives: 512 MiB read and written.
        f16_copy("copy/f16/1gib", 65536, 4096),
    ]
}

fn f16_copy(name: &'static str, rows: usize, width: usize) -> Bench {
    f16_bench(name, 0.0, 4.0 * (rows * width) as f64, move |device| {
        let row: Vec<f16> = uniform("x", width).into_iter().map(f16::from_f32).collect();
        let x = Tensor::new(device, &[rows, width], row.repeat(rows)).expect("a value for each place");
        Box::new(move || drop(std::hint::black_box(copy(&x).expect("memory for it"))))
    })
}
