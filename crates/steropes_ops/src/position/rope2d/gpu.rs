//! Inverse frequencies as fractions of a turn, and launches.

use super::Turn;
use crate::elementwise::copy::copy;
use crate::error::OpError;
use crate::gpu::{Packs, destination, destination_header, row_ranges, window};
use std::fmt::Write as _;
use std::ops::Range;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: u32 = 256;

/// Heads of an invocation, which turn by the same sines and cosines.
const HEADS_EACH: usize = 2;

pub(super) fn rope2d(
    gpu: &Gpu,
    op: &'static str,
    x: Tensor,
    some: Range<usize>,
    positions: &Tensor,
    turn: Turn,
) -> Result<Tensor, OpError> {
    if x.is_empty() || some.is_empty() {
        return Ok(x);
    }
    // The kernel writes no other heads.
    let is_whole = some.len() == x.shape()[2];
    let x = if is_whole || x.is_unshared() { x } else { copy(&x)? };
    let form = Form::choose(&x, some, positions.dtype(), turn);
    let (y, source) = destination(gpu, op, x)?;
    let kernel = form.kernel(source.is_some());
    let row_bytes = form.heads * form.quarter * 4 * y.dtype().size_bytes();
    let integer = positions.dtype().size_bytes();
    for tokens in row_ranges(op, gpu, positions.len() / 2, &[row_bytes, 2 * integer])? {
        let at = window(positions, 2 * integer, &tokens);
        let to = window(&y, row_bytes, &tokens);
        let mut bindings = vec![to.binding, at.binding];
        bindings.extend(source.iter().map(|x| window(x, row_bytes, &tokens).binding));
        let count = tokens.len() * form.invocations_per_token();
        let params = [count as u32, to.shift(form.packs.bytes()), at.shift(integer)];
        gpu.launch(&kernel, &bindings, &params, spread(count.div_ceil(THREADS as usize) as u64))?;
    }
    Ok(y)
}

/// What the kernel is made for.
struct Form {
    packs: Packs,
    positions: DType,
    heads: usize,
    some: Range<usize>,
    quarter: usize,
    turn: Turn,
}

impl Form {
    fn choose(x: &Tensor, some: Range<usize>, positions: DType, turn: Turn) -> Self {
        let (heads, quarter) = (x.shape()[2], x.shape()[3] / 4);
        Self { packs: Packs::of_rows(x.dtype(), quarter), positions, heads, some, quarter, turn }
    }

    fn head_lanes(&self) -> usize {
        self.some.len().div_ceil(HEADS_EACH)
    }

    fn invocations_per_token(&self) -> usize {
        self.head_lanes() * 2 * (self.quarter / self.packs.lanes)
    }

    fn kernel(&self, has_source: bool) -> Kernel {
        let header = self.packs.header(Header::new());
        let header = if self.packs.lanes == 1 {
            header.alias("Turns", "u32").alias("SignedTurns", "i32")
        } else {
            header.alias("Turns", "vec4<u32>").alias("SignedTurns", "vec4<i32>")
        };
        let header = header
            .count("THREADS", THREADS)
            .count("HEADS", self.heads as u32)
            .count("FIRST_HEAD", self.some.start as u32)
            .count("SOME_HEADS", self.some.len() as u32)
            .count("HEADS_EACH", HEADS_EACH.min(self.some.len()) as u32)
            .count("HEAD_LANES", self.head_lanes() as u32)
            .count("CHUNKS", (self.quarter / self.packs.lanes) as u32)
            .number("DIRECTION", if self.turn.backwards { -1.0 } else { 1.0 })
            .text(&self.frequencies())
            .text(match self.positions {
                DType::U8 => include_str!("position_u8.wgsl"),
                DType::I32 => include_str!("position_i32.wgsl"),
                DType::I64 => include_str!("position_i64.wgsl"),
                _ => include_str!("position_u32.wgsl"),
            });
        let header = destination_header(header, has_source.then_some(2));
        Kernel::new("rope2d", &header, include_str!("rope2d.wgsl"))
    }

    /// `frequencies(chunk)`: the fractions of a turn at position 1 of the pairs of a pack. A chain of literals, because neither
    /// immediates nor constant arrays serve any number of them well.
    fn frequencies(&self) -> String {
        let fractions: Vec<u64> =
            (0..self.quarter).map(|i| fraction_of_turn(self.turn.frequency(i, self.quarter))).collect();
        let mut text = String::from("struct Frequency { high: Turns, low: Turns }\n");
        text.push_str("fn frequencies(chunk: u32) -> array<Frequency, QUADS> {\n");
        for (chunk, fractions) in fractions.chunks(self.packs.lanes).enumerate().rev() {
            let quads = fractions.chunks(4).map(|quad| {
                let words = |shift: u32| {
                    let words: Vec<String> =
                        quad.iter().map(|f| format!("{}u", (f >> shift) as u32)).collect();
                    words.join(", ")
                };
                format!("Frequency(Turns({}), Turns({}))", words(32), words(0))
            });
            let quads = quads.collect::<Vec<_>>().join(", ");
            let condition = if chunk > 0 { format!("if (chunk == {chunk}u) ") } else { String::new() };
            writeln!(text, "    {condition}{{ return array<Frequency, QUADS>({quads}); }}")
                .expect("writing to a string");
        }
        text.push_str("}\n");
        text
    }
}

/// The fractional part of `radians` as a part of a turn, in units of 2^-64.
fn fraction_of_turn(radians: f64) -> u64 {
    // 1 / 2 pi in two parts, so that the quotient has more bits than an f64.
    const INVERSE: [f64; 2] = [0.159_154_943_091_895_35, -9.839_338_337_591_8e-18];
    const UNIT: f64 = 18_446_744_073_709_551_616.0;
    let quotient = radians * INVERSE[0];
    let rest = radians.mul_add(INVERSE[0], -quotient) + radians * INVERSE[1];
    let whole = (quotient.fract() * UNIT) as u64;
    whole.wrapping_add((rest * UNIT).round() as i64 as u64)
}

pub(crate) mod tests {
    use super::fraction_of_turn;
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![unit_case("rope2d/unit/fractions_have_more_bits_than_f64", fractions_have_more_bits_than_f64)]
    }

    /// Against digits of 1 / 2 pi beyond f64: 0.15915494309189533576888376337251436203446.
    fn fractions_have_more_bits_than_f64() {
        // floor(0.1591549430918953357688837633725... * 2^64)
        let want: i128 = 2_935_890_503_282_001_226;
        assert!((i128::from(fraction_of_turn(1.0)) - want).abs() <= 1, "{}", fraction_of_turn(1.0));
        let tau = std::f64::consts::TAU;
        // tau itself is off by 2.4e-16, so that a whole turn is missed by 3.9e-17 of one, 718 units.
        assert!((fraction_of_turn(tau) as i64).abs() < 800);
        assert_eq!(fraction_of_turn(0.0), 0);
    }
}
