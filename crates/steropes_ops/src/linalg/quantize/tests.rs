use super::{
    BLOCK_LEN, BlockFormat, BlockQ4, BlockQ8, GroupRange, GroupedMatrix, QuantizedMatrix, reference,
};
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
        cpu_case("quantize/golden/blocks_by_hand", |_| blocks_by_hand()),
        cpu_case("quantize/golden/a_group_by_hand", |_| group_by_hand()),
        cpu_case("quantize/oracle/groups_are_bounded", |_| groups_are_bounded()),
        cpu_case("quantize/property/groups_of_equal_values", |_| equal_groups()),
        cpu_case("quantize/property/groups_scale", |_| groups_scale()),
        cpu_case("quantize/error/groups", |_| wrong_groups()),
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

/// The bytes of a block, written down from the description of the formats.
fn blocks_by_hand() -> Verdict {
    // The value of largest magnitude is -8, so the scale is 1 in q4_0: -8 is number 0, 0 is 8, 7 is 15.
    let mut values = [0.0; BLOCK_LEN];
    (values[0], values[1], values[15]) = (-8.0, 7.0, 1.0);
    (values[16], values[17], values[31]) = (-3.0, 2.4, 100.0 / 16.0);
    let q4 = BlockQ4::quantize(&values);
    let mut want = vec![0x00, 0x3c];
    want.extend([
        0x50, 0xaf, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0xe9,
    ]);
    check_equal(bytemuck::bytes_of(&q4), &want)?;
    // A largest magnitude of 254 makes the scale 2.
    let mut values = [0.0; BLOCK_LEN];
    (values[0], values[1], values[2], values[31]) = (254.0, -254.0, 3.0, -7.9);
    let mut want = vec![0u8; 34];
    (want[1], want[2], want[3], want[4], want[33]) = (0x40, 127, 129, 2, 252);
    check_equal(bytemuck::bytes_of(&BlockQ8::quantize(&values)), &want)
}

/// Numbers 0 to 15 and back: the scale is 0.5, the lowest value -2.
fn group_by_hand() -> Verdict {
    let values: Vec<f32> = (0..16).chain((0..16).rev()).map(|n| n as f32 * 0.5 - 2.0).collect();
    let matrix = said(GroupedMatrix::quantize(32, [1, 32], &values))?;
    let want: Vec<u8> = (0..16).map(|n| n | (15 - n) << 4).collect();
    check_equal(matrix.numbers(), &want)?;
    check_equal(matrix.ranges(), &[GroupRange { scale: 0.5, low: -2.0 }])?;
    check_equal(&matrix.dequantize(), &values)?;
    let parts = GroupedMatrix::from_parts(32, [1, 32], want, matrix.ranges().to_vec());
    check_equal(&[said(parts)?], &[matrix])
}

fn groups_are_bounded() -> Verdict {
    for group in GroupedMatrix::GROUPS {
        for [rows, columns] in [[1, 1], [3, 31], [2, 33], [7, 97], [5, 600]] {
            let values: Vec<f32> =
                normal("quantize/values", rows * columns).iter().map(|v| v + 3.0).collect();
            let matrix = said(GroupedMatrix::quantize(group, [rows, columns], &values))?;
            let got = matrix.dequantize();
            for (got, want) in got.chunks(columns).zip(values.chunks(columns)) {
                for (got, want) in got.chunks(group).zip(want.chunks(group)) {
                    let low = want.iter().copied().fold(f32::INFINITY, f32::min);
                    let high = want.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let bound = (high - low) / 30.0 + 4.0 * f32::EPSILON * high.abs().max(low.abs());
                    if let Some((g, w)) = got.iter().zip(want).find(|(g, w)| (**g - **w).abs() > bound) {
                        return Err(format!("groups of {group}, {rows} x {columns}: {w} became {g}"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Without a range the numbers are 0 and the value comes back, also far from zero and next to it.
fn equal_groups() -> Verdict {
    for value in [0.0, -1e30, 1e-40, 5.0] {
        let matrix = said(GroupedMatrix::quantize(64, [2, 70], &[value; 140]))?;
        check_equal(&matrix.dequantize(), &[value; 140])?;
        check_equal(matrix.numbers(), &[0; 2 * 64])?;
    }
    let wide = said(GroupedMatrix::quantize(32, [1, 2], &[f32::MAX, f32::MIN]))?;
    check_equal(&[wide.number(0, 0), wide.number(0, 1)], &[15, 0])
}

/// No threshold is absolute: small matrices have the numbers of large ones.
fn groups_scale() -> Verdict {
    let values = normal("quantize/values", 3 * 100);
    let matrix = said(GroupedMatrix::quantize(32, [3, 100], &values))?;
    for factor in [1e-20f32, 1e20] {
        let factor = 2.0f32.powi(factor.log2().round() as i32);
        let scaled: Vec<f32> = values.iter().map(|v| v * factor).collect();
        let other = said(GroupedMatrix::quantize(32, [3, 100], &scaled))?;
        check_equal(other.numbers(), matrix.numbers())?;
    }
    Ok(())
}

fn wrong_groups() -> Verdict {
    let of = |group, values: &[f32]| GroupedMatrix::quantize(group, [1, 3], values);
    expect_error(of(48, &[0.0; 3]), "`group` must be 32, 64, 128 or 256, got 48")?;
    expect_error(of(32, &[0.0; 4]), "`values` must be 1 x 3 numbers, got 4")?;
    expect_error(of(32, &[0.0, f32::NAN, 0.0]), "`values` must be finite, got NaN")?;
    let range = GroupRange { scale: 1.0, low: 0.0 };
    let parts = |numbers, ranges| GroupedMatrix::from_parts(32, [1, 33], vec![0; numbers], ranges);
    said(parts(32, vec![range; 2]))?;
    expect_error(parts(16, vec![range; 2]), "`numbers` must be 32 bytes, got 16")?;
    expect_error(parts(32, vec![range; 1]), "`ranges` must be 2 pairs, got 1")?;
    let wrong = GroupRange { scale: f32::INFINITY, ..range };
    expect_error(parts(32, vec![range, wrong]), "`ranges` must be finite, got those of group 1")
}
