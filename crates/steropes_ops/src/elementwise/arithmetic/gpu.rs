//! Launches.

use super::{Operation, Repeat, SCALE};
use crate::error::OpError;
use crate::gpu::{
    Packs, bind, destination, destination_header, flat_groups, flat_header, flat_ranges, window,
};
use steropes_tensor::{Gpu, Header, Kernel, Tensor};

pub(super) fn combine(
    gpu: &Gpu,
    operation: Operation,
    x: Tensor,
    y: &Tensor,
    repeat: Repeat,
) -> Result<Tensor, OpError> {
    let symbol = match operation {
        Operation::Mul => "*",
        Operation::Sub => "-",
        Operation::Div => "/",
    };
    launch(gpu, operation.op(), symbol, x, Right::Tensor(y, repeat))
}

pub(super) fn scale(gpu: &Gpu, x: Tensor, factor: f32) -> Result<Tensor, OpError> {
    launch(gpu, SCALE, "*", x, Right::Factor(factor))
}

/// The right operand.
#[derive(Clone, Copy)]
enum Right<'a> {
    Factor(f32),
    Tensor(&'a Tensor, Repeat),
}

impl Right<'_> {
    /// The text that reads it.
    fn text(self) -> &'static str {
        let Self::Tensor(_, repeat) = self else {
            return "fn right_at(p: u32) -> Quads { return repeated(Quad(params.factor)); }\n";
        };
        match repeat {
            Repeat::Nothing => "fn right_at(p: u32) -> Quads { return unpacked(right[p]); }\n",
            Repeat::Rows(_) => {
                "fn right_at(p: u32) -> Quads { return unpacked(right[(params.first + p) % params.period]); }\n"
            }
            Repeat::Number => {
                "fn right_at(p: u32) -> Quads { return repeated(Quad(unpacked(right[0])[0].x)); }\n"
            }
        }
    }
}

fn launch(gpu: &Gpu, op: &'static str, symbol: &str, x: Tensor, right: Right<'_>) -> Result<Tensor, OpError> {
    let (packs, period) = match right {
        Right::Tensor(_, Repeat::Rows(width)) => {
            let packs = Packs::of_rows(x.dtype(), width);
            (packs, width / packs.lanes)
        }
        _ => (Packs::wide(x.dtype()), 1),
    };
    let count = x.len().div_ceil(packs.lanes);
    let (y, source) = destination(gpu, op, x)?;
    let bytes = packs.bytes();
    let mut arrays = vec![(&y, bytes)];
    if let Right::Tensor(other, Repeat::Nothing) = right {
        arrays.push((other, bytes));
    }
    arrays.extend(source.iter().map(|x| (x, bytes)));
    let factor = if let Right::Factor(factor) = right { factor } else { 0.0 };
    let kernel = kernel(packs, symbol, right, source.is_some());
    for range in flat_ranges(gpu, count, &arrays) {
        let mut bindings = vec![window(&y, bytes, &range).binding];
        bindings.extend(match right {
            Right::Factor(_) => None,
            Right::Tensor(other, Repeat::Nothing) => Some(window(other, bytes, &range).binding),
            Right::Tensor(other, _) => Some(bind(other)),
        });
        bindings.extend(source.iter().map(|x| window(x, bytes, &range).binding));
        let first = (range.start % period.max(1)) as u32;
        let params = [range.len() as u32, first, period as u32, factor.to_bits()];
        gpu.launch(&kernel, &bindings, &params, flat_groups(range.len()))?;
    }
    Ok(y)
}

fn kernel(packs: Packs, symbol: &str, right: Right<'_>, has_source: bool) -> Kernel {
    let has_right = matches!(right, Right::Tensor(..));
    let header = packs.header(Header::new()).text(&format!(
        "fn operation(a: Quad, b: Quad) -> Quad {{ return a {symbol} b; }}\n\
         fn repeated(value: Quad) -> Quads {{\n    var all: Quads;\n    \
         for (var q = 0u; q < QUADS; q++) {{ all[q] = value; }}\n    return all;\n}}\n"
    ));
    let header = header.text(right.text()).text(if has_right {
        "@group(0) @binding(1) var<storage, read> right: array<Pack>;\n"
    } else {
        ""
    });
    let source = has_source.then_some(1 + u32::from(has_right));
    let header = destination_header(flat_header(header), source);
    Kernel::new("arithmetic", &header, include_str!("arithmetic.wgsl"))
}
