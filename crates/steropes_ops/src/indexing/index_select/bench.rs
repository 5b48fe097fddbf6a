use super::index_select;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // Half the tokens of MASt3R ViT-L at 512 x 384.
    vec![rows("index_select/mast3r_tokens", 768, 1024, 384)]
}

/// Rows read and written.
fn rows(name: &'static str, rows: usize, width: usize, count: usize) -> Bench {
    bench(name, 0.0, 8.0 * (count * width) as f64, move |device| {
        let x =
            Tensor::new(device, &[rows, width], uniform("x", rows * width)).expect("a value for each place");
        let index = (0..count).map(|i| (i * 7919 % rows) as i64).collect();
        let index = Tensor::new(device, &[count], index).expect("a number for each row");
        Box::new(move || drop(std::hint::black_box(index_select(&x, 0, &index).expect("valid arguments"))))
    })
}
