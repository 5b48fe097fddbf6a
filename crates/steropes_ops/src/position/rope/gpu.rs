//! Choice of packs, and launches.

use super::{RopePairs, Turn};
use crate::elementwise::copy::copy;
use crate::error::OpError;
use crate::gpu::{
    Packs, bind, destination, destination_header, largest_binding, row_ranges, unsupported, window,
};
use steropes_tensor::{Binding, DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: u32 = 256;

/// Heads of an invocation, which turn by the same sines and cosines.
const HEADS_EACH: usize = 2;

pub(super) fn rope(gpu: &Gpu, op: &'static str, x: Tensor, turn: &Turn<'_>) -> Result<Tensor, OpError> {
    if x.is_empty() || turn.half() == 0 {
        return Ok(x);
    }
    let tables = [Some(turn.cos), turn.positions].map(|table| table.map_or(0, |table| bind(table).bytes));
    let &[batch, seq, heads, head_dim] = x.shape() else { unreachable!("the rank was checked") };
    let per_token = turn.positions.is_some_and(|positions| positions.shape()[0] == batch);
    let shared = if per_token { &tables[..1] } else { &tables[..] };
    if shared.iter().any(|&bytes| bytes > largest_binding(gpu) as u64) {
        let why = format!("tables of {shared:?} bytes do not fit one binding");
        return Err(unsupported(op, gpu, why));
    }
    // The kernel writes nothing else.
    let is_whole = 2 * turn.half() == head_dim;
    let x = if is_whole || x.is_unshared() { x } else { copy(&x)? };
    let form = Form::choose(&x, turn, per_token);
    let (y, source) = destination(gpu, op, x)?;
    let kernel = form.kernel(source.is_some());
    let row_bytes = heads * head_dim * y.dtype().size_bytes();
    let integer = turn.positions.map_or(1, |positions| positions.dtype().size_bytes());
    let position_bytes = if per_token { integer } else { 0 };
    for tokens in row_ranges(op, gpu, batch * seq, &[row_bytes, position_bytes])? {
        let to = window(&y, row_bytes, &tokens);
        let at = turn.positions.map(|p| window(p, integer, &if per_token { tokens.clone() } else { 0..seq }));
        let mut bindings: Vec<Binding<'_>> = vec![to.binding, bind(turn.cos), bind(turn.sin)];
        let shift = at.as_ref().map_or(0, |at| at.shift(integer));
        bindings.extend(at.map(|at| at.binding));
        bindings.extend(source.iter().map(|x| window(x, row_bytes, &tokens).binding));
        let count = tokens.len() * form.invocations_per_token();
        let params = [
            count as u32,
            to.shift(form.packs.bytes()),
            (tokens.start % seq) as u32,
            seq as u32,
            turn.rows() as u32,
            shift,
            f32::NAN.to_bits(),
        ];
        gpu.launch(&kernel, &bindings, &params, spread(count.div_ceil(THREADS as usize) as u64))?;
    }
    Ok(y)
}

/// What the kernel is made for.
struct Form<'a> {
    packs: Packs,
    heads: usize,
    head_dim: usize,
    per_token: bool,
    turn: Turn<'a>,
}

impl<'a> Form<'a> {
    fn choose(x: &Tensor, turn: &Turn<'a>, per_token: bool) -> Self {
        let (heads, head_dim) = (x.shape()[2], x.shape()[3]);
        let wide = Packs::wide(x.dtype()).lanes;
        // Packs must not reach from one half, or from what turns, into the rest.
        let turned = match turn.pairs {
            RopePairs::Halves => turn.half(),
            RopePairs::Neighbours => 2 * turn.half(),
        };
        let fits = turned.is_multiple_of(wide) && head_dim.is_multiple_of(wide);
        let packs = Packs::of_rows(x.dtype(), if fits { wide } else { 1 });
        Self { packs, heads, head_dim, per_token, turn: *turn }
    }

    /// Whether a pack holds whole pairs.
    fn pairs_inside(&self) -> bool {
        self.packs.lanes > 1 && self.turn.pairs == RopePairs::Neighbours
    }

    /// Packs of a head that hold what turns, counted by those of the first values of pairs.
    fn chunks(&self) -> usize {
        let values = if self.pairs_inside() { 2 * self.turn.half() } else { self.turn.half() };
        values / self.packs.lanes
    }

    fn head_lanes(&self) -> usize {
        self.heads.div_ceil(HEADS_EACH)
    }

    fn invocations_per_token(&self) -> usize {
        self.head_lanes() * self.chunks()
    }

    fn kernel(&self, has_source: bool) -> Kernel {
        let neighbours = self.turn.pairs == RopePairs::Neighbours;
        let header = self
            .packs
            .header(Header::new())
            .count("THREADS", THREADS)
            .count("HEADS", self.heads as u32)
            .count("HEADS_EACH", HEADS_EACH.min(self.heads) as u32)
            .count("HEAD_LANES", self.head_lanes() as u32)
            .count("HEAD_PACKS", (self.head_dim / self.packs.lanes) as u32)
            .count("CHUNKS", self.chunks() as u32)
            .count("CHUNK_STEP", if neighbours && !self.pairs_inside() { 2 } else { 1 })
            .count("PARTNER", if neighbours { 1 } else { self.chunks() as u32 })
            .number("DIRECTION", self.turn.direction());
        let header = header.text(self.row_text());
        let header = match self.turn.positions.map(Tensor::dtype) {
            None => header,
            Some(DType::U8) => header.text(&at_binding_3(include_str!("../rope2d/position_u8.wgsl"))),
            Some(DType::I32) => header.text(&at_binding_3(include_str!("../rope2d/position_i32.wgsl"))),
            Some(DType::I64) => header.text(&at_binding_3(include_str!("../rope2d/position_i64.wgsl"))),
            Some(_) => header.text(&at_binding_3(include_str!("../rope2d/position_u32.wgsl"))),
        };
        let source = if self.turn.positions.is_some() { 4 } else { 3 };
        let header = destination_header(header, has_source.then_some(source));
        if self.pairs_inside() {
            Kernel::new("rope", &header.text(include_str!("params.wgsl")), include_str!("neighbours.wgsl"))
        } else {
            Kernel::new("rope", &header.text(include_str!("params.wgsl")), include_str!("halves.wgsl"))
        }
    }

    /// `row_of(token)`: the row of the tables, with an upper half for what has none.
    fn row_text(&self) -> &'static str {
        match (self.turn.positions, self.per_token) {
            (None, _) => {
                "fn row_of(token: u32) -> vec2<u32> { return vec2<u32>((params.first + token) % params.seq, 0u); }\n"
            }
            (Some(_), true) => {
                "fn row_of(token: u32) -> vec2<u32> { return position(params.positions_shift + token); }\n"
            }
            (Some(_), false) => {
                "fn row_of(token: u32) -> vec2<u32> { return position((params.first + token) % params.seq); }\n"
            }
        }
    }
}

/// Positions follow the tables here.
fn at_binding_3(text: &str) -> String {
    text.replace("@binding(1)", "@binding(3)")
}
