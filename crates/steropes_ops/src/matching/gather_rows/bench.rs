use super::gather_rows;
use steropes_tensor::Tensor;
use steropes_testkit::{Bench, bench, inputs};

/// The descriptors around 4096 matches of a pair at 512 x 384.
pub(crate) fn benches() -> Vec<Bench> {
    let (rows, count, width) = (512 * 384, 9 * 4096, 24);
    let bytes = (2 * 4 * count * width + 4 * count) as f64;
    vec![bench("gather_rows/around_matches", 0.0, bytes, move |device| {
        let data = inputs::uniform("gather_rows/rows", rows * width);
        let data = Tensor::new(device, &[rows, width], data).expect("the data fills the shape");
        let indices = super::tests::indices(count, rows);
        let indices = Tensor::new(device, &[count], indices).expect("the data fills the shape");
        Box::new(move || {
            std::hint::black_box(gather_rows(&data, &indices).expect("valid arguments"));
        })
    })]
}
