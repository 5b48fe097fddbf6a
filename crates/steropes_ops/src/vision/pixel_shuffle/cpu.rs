//! One task per row of the result. Within a token, the row is a matrix `[channels][patch]` whose rows lie `patch²`
//! apart; it is transposed in blocks of 4 x 4, which the compiler keeps in vector registers.

use rayon::prelude::*;

/// Side of a transposed block.
const SIDE: usize = 4;

pub(super) fn pixel_shuffle(x: &[f32], width: usize, patch: usize, shape: [usize; 4]) -> Vec<f32> {
    let channels = shape[3];
    let token_len = channels * patch * patch;
    let mut y = vec![0.0f32; shape.iter().product()];
    y.par_chunks_mut((patch * width * channels).max(1)).enumerate().for_each(|(row, y)| {
        let (token_row, r) = (row / patch, row % patch);
        for (col, y) in y.chunks_exact_mut(patch * channels).enumerate() {
            let token = &x[(token_row * width + col) * token_len..][..token_len];
            transpose(&token[r * patch..], patch * patch, y, channels);
        }
    });
    y
}

/// `y[c][channel] = x[channel * stride + c]` for `y` with rows of `channels` values.
fn transpose(x: &[f32], stride: usize, y: &mut [f32], channels: usize) {
    let patch = y.len() / channels;
    let (whole_columns, whole_channels) = (patch / SIDE * SIDE, channels / SIDE * SIDE);
    for channel in (0..whole_channels).step_by(SIDE) {
        for c in (0..whole_columns).step_by(SIDE) {
            let rows: [[f32; SIDE]; SIDE] = std::array::from_fn(|i| {
                let row = &x[(channel + i) * stride + c..][..SIDE];
                [row[0], row[1], row[2], row[3]]
            });
            for j in 0..SIDE {
                let column = [rows[0][j], rows[1][j], rows[2][j], rows[3][j]];
                y[(c + j) * channels + channel..][..SIDE].copy_from_slice(&column);
            }
        }
        for c in whole_columns..patch {
            for i in channel..channel + SIDE {
                y[c * channels + i] = x[i * stride + c];
            }
        }
    }
    for channel in whole_channels..channels {
        for (c, v) in x[channel * stride..][..patch].iter().enumerate() {
            y[c * channels + channel] = *v;
        }
    }
}
