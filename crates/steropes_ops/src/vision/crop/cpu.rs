//! One task per row of the result: a row is one contiguous copy.

use rayon::prelude::*;

pub(super) fn crop(x: &[f32], [h, w]: [usize; 2], shape: [usize; 4]) -> Vec<f32> {
    let [_, height, width, channels] = shape;
    let mut y = vec![0.0; shape.iter().product()];
    y.par_chunks_mut((width * channels).max(1)).enumerate().for_each(|(row, y)| {
        let source = (row / height * h + row % height) * w * channels;
        y.copy_from_slice(&x[source..][..width * channels]);
    });
    y
}
