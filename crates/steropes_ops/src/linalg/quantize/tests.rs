use super::{BLOCK_LEN, BlockFormat, QuantizedMatrix, reference};
use crate::OpError;
use steropes_testkit::inputs::normal;
use steropes_testkit::{Case, Tolerance, Verdict, check_close, check_equal, cpu_case, expect_error};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        cpu_case("quantize/golden/q8_0_is_that_of_gguf", |_| golden(BlockFormat::Q8, GOLDEN_Q8)),
        cpu_case("quantize/golden/q4_0_is_that_of_gguf", |_| golden(BlockFormat::Q4, GOLDEN_Q4)),
        cpu_case("quantize/oracle/dequantize", |_| dequantized()),
        cpu_case("quantize/oracle/errors_are_bounded", |_| bounded()),
        cpu_case("quantize/property/padding_changes_nothing", |_| padding()),
        cpu_case("quantize/property/bytes_come_back", |_| bytes_come_back()),
        cpu_case("quantize/property/scaled_rows", |_| scaled_rows()),
        cpu_case("quantize/property/joined_rows", |_| joined_rows()),
        cpu_case("quantize/property/nothing_to_hold", |_| nothing_to_hold()),
        cpu_case("quantize/error/values", |_| wrong_values()),
        cpu_case("quantize/error/bytes", |_| wrong_bytes()),
        cpu_case("quantize/error/factors", |_| wrong_factors()),
        cpu_case("quantize/error/joined", |_| wrong_join()),
    ]
}

/// 12 rows of 64 values, and what `gguf.quants.quantize` of the package gguf 0.19 makes of them.
const GOLDEN: &[u8] = include_bytes!("golden/values.bin");
const GOLDEN_Q8: &[u8] = include_bytes!("golden/q8_0.bin");
const GOLDEN_Q4: &[u8] = include_bytes!("golden/q4_0.bin");
const GOLDEN_SHAPE: [usize; 2] = [12, 64];

fn golden_values() -> Vec<f32> {
    GOLDEN.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
}

fn said<T>(result: Result<T, OpError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn golden(format: BlockFormat, bytes: &[u8]) -> Verdict {
    let matrix = said(QuantizedMatrix::quantize(format, GOLDEN_SHAPE, &golden_values()))?;
    check_equal(matrix.bytes(), bytes)
}

fn quantized(format: BlockFormat, shape: [usize; 2]) -> Result<(Vec<f32>, QuantizedMatrix), String> {
    let values = normal("quantize/values", shape[0] * shape[1]);
    let matrix = said(QuantizedMatrix::quantize(format, shape, &values))?;
    Ok((values, matrix))
}

const SHAPES: [[usize; 2]; 6] = [[1, 1], [3, 31], [5, 32], [2, 33], [7, 97], [64, 256]];

fn dequantized() -> Verdict {
    for format in BlockFormat::ALL {
        for shape in SHAPES {
            let (_, matrix) = quantized(format, shape)?;
            let want = reference::dequantize(format, shape[1], matrix.bytes());
            check_close(&matrix.dequantize(), &want, Tolerance::Exact)
                .map_err(|e| format!("{format} {shape:?}: {e}"))?;
        }
    }
    Ok(())
}

fn bounded() -> Verdict {
    for (format, share) in [(BlockFormat::Q8, 1.0 / 254.0), (BlockFormat::Q4, 1.0 / 8.0)] {
        for [rows, columns] in SHAPES {
            let (values, matrix) = quantized(format, [rows, columns])?;
            let got = matrix.dequantize();
            for (row, (got, want)) in got.chunks(columns).zip(values.chunks(columns)).enumerate() {
                for (block, (got, want)) in got.chunks(BLOCK_LEN).zip(want.chunks(BLOCK_LEN)).enumerate() {
                    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                    let worst = got.iter().zip(want).fold(0.0f32, |m, (g, w)| m.max((g - w).abs()));
                    // The scale is rounded to 11 bits.
                    if worst > largest * (share + 1.0 / 2048.0) {
                        return Err(format!("{format}, row {row}, block {block}: {worst} of {largest}"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// A short row is the beginning of one that is filled up with zeros.
fn padding() -> Verdict {
    let [rows, columns] = [5, 45];
    for format in BlockFormat::ALL {
        let (values, matrix) = quantized(format, [rows, columns])?;
        let padded: Vec<f32> = values.chunks(columns).flat_map(|r| [r, &[0.0; 19][..]].concat()).collect();
        let whole = said(QuantizedMatrix::quantize(format, [rows, 64], &padded))?;
        check_equal(matrix.bytes(), whole.bytes())?;
        let zeros = whole.dequantize().chunks(64).all(|row| row[columns..].iter().all(|&v| v == 0.0));
        check_equal(&[zeros], &[true])?;
    }
    Ok(())
}

fn bytes_come_back() -> Verdict {
    for format in BlockFormat::ALL {
        let (_, matrix) = quantized(format, [7, 97])?;
        check_equal(&[matrix.bytes().len()], &[7 * format.row_bytes(97)])?;
        check_equal(&[said(QuantizedMatrix::from_bytes(format, [7, 97], matrix.bytes()))?], &[matrix])?;
        check_equal(&[BlockFormat::from_name(format.name())], &[Some(format)])?;
    }
    check_equal(&[BlockFormat::from_name("q4_1")], &[None])
}

fn scaled_rows() -> Verdict {
    for format in BlockFormat::ALL {
        let (_, mut matrix) = quantized(format, [3, 70])?;
        let before = matrix.dequantize();
        said(matrix.scale_rows(&[0.5, -2.0, 0.0]))?;
        // By powers of two, so that no scale is rounded.
        let want: Vec<f64> = before
            .chunks(70)
            .zip([0.5, -2.0, 0.0])
            .flat_map(|(row, f)| row.iter().map(move |&v| f64::from(v) * f))
            .collect();
        check_close(&matrix.dequantize(), &want, Tolerance::Exact)?;
    }
    Ok(())
}

fn joined_rows() -> Verdict {
    for format in BlockFormat::ALL {
        let (_, first) = quantized(format, [3, 70])?;
        let (_, second) = quantized(format, [2, 70])?;
        let want = [first.dequantize(), second.dequantize()].concat();
        let both = said(first.followed_by(second))?;
        check_equal(&both.shape(), &[5, 70])?;
        check_equal(&both.dequantize(), &want)?;
    }
    Ok(())
}

fn nothing_to_hold() -> Verdict {
    for format in BlockFormat::ALL {
        for shape in [[0, 5], [5, 0], [0, 0]] {
            let mut matrix = said(QuantizedMatrix::quantize(format, shape, &[]))?;
            check_equal(&[matrix.bytes().len(), matrix.dequantize().len()], &[0, 0])?;
            said(matrix.scale_rows(&vec![2.0; shape[0]]))?;
        }
    }
    Ok(())
}

fn wrong_values() -> Verdict {
    for (format, largest) in [(BlockFormat::Q8, 8.3e6), (BlockFormat::Q4, 5.24e5)] {
        let of = |value: f32| QuantizedMatrix::quantize(format, [1, 3], &[0.0, value, 1.0]);
        said(of(-largest))?;
        for wrong in [-1.02 * largest, f32::INFINITY, f32::NAN] {
            expect_error(of(wrong), "`values` must be finite and below")?;
        }
        expect_error(QuantizedMatrix::quantize(format, [2, 3], &[0.0; 5]), "`values` must be 2 x 3 numbers")?;
    }
    Ok(())
}

fn wrong_bytes() -> Verdict {
    for format in BlockFormat::ALL {
        let mut bytes = vec![0; 4 * format.block_bytes()];
        said(QuantizedMatrix::from_bytes(format, [2, 33], &bytes))?;
        expect_error(QuantizedMatrix::from_bytes(format, [3, 33], &bytes), "`bytes` must be")?;
        expect_error(QuantizedMatrix::from_bytes(format, [2, 32], &bytes), "`bytes` must be")?;
        // The scale of the last block becomes an infinity.
        bytes[3 * format.block_bytes() + 1] = 0x7c;
        expect_error(QuantizedMatrix::from_bytes(format, [2, 33], &bytes), "finite scales, got block 3")?;
    }
    Ok(())
}

fn wrong_factors() -> Verdict {
    for format in BlockFormat::ALL {
        let (_, mut matrix) = quantized(format, [2, 40])?;
        expect_error(matrix.scale_rows(&[1.0]), "`factors` must be 2 numbers, got 1")?;
        expect_error(matrix.scale_rows(&[1.0, 1e8]), "such that scales fit f16")?;
        expect_error(matrix.scale_rows(&[f32::NAN, 1.0]), "such that scales fit f16")?;
    }
    Ok(())
}

fn wrong_join() -> Verdict {
    let of = |format, columns| quantized(format, [2, columns]).map(|(_, matrix)| matrix);
    let (q8, q4) = (of(BlockFormat::Q8, 40)?, of(BlockFormat::Q4, 40)?);
    expect_error(q8.clone().followed_by(q4), "`other` must be q8 of 40 columns, got q4 of 40")?;
    expect_error(q8.followed_by(of(BlockFormat::Q8, 41)?), "got q8 of 41 columns")
}
