//! f64 oracle, from the description of the bytes.

use super::BlockFormat;

/// The values of rows of blocks, `columns` of each row.
pub(super) fn dequantize(format: BlockFormat, columns: usize, bytes: &[u8]) -> Vec<f64> {
    let (block_bytes, blocks) = match format {
        BlockFormat::Q8 => (34, columns.div_ceil(32)),
        BlockFormat::Q4 => (18, columns.div_ceil(32)),
    };
    let mut values = Vec::new();
    for row in bytes.chunks_exact(blocks * block_bytes) {
        for column in 0..columns {
            let block = &row[column / 32 * block_bytes..];
            let (scale, i) = (half(u16::from(block[0]) | u16::from(block[1]) << 8), column % 32);
            let integer = match format {
                BlockFormat::Q8 => f64::from(block[2 + i].cast_signed()),
                BlockFormat::Q4 => f64::from(block[2 + i % 16] >> (i / 16 * 4) & 15) - 8.0,
            };
            values.push(scale * integer);
        }
    }
    values
}

/// A binary16: one bit of sign, 5 of exponent, 10 of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023) / 1024.0);
    let magnitude = if exponent == 0 {
        fraction * (2f64).powi(-14)
    } else {
        (1.0 + fraction) * (2f64).powi(exponent - 15)
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}
