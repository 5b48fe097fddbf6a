// One tile of 32 x 32 entries for each workgroup, 4 x 4 for each invocation: where the rows of one pair of blocks meet the columns of
// another, the product of the rotations from both sides, written to both sides of the diagonal; then the rows of the vectors, from
// the left only. Tiles whose pairs turned nothing return at once.
//
// Header: WIDTH, PAIRS, TILES (of a matrix, with those of the vectors or without); blocks.

struct Params { count: u32, sweep: u32, round: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> whole: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> vectors: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> products: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> pair_turns: array<u32>;
@group(0) @binding(4) var<storage, read> before: array<u32>;

const MEETINGS: u32 = PAIRS * (PAIRS - 1u) / 2u;
const QUADS: u32 = WIDTH / 4u;

var<workgroup> x: array<vec4<f32>, 256>;
var<workgroup> left: array<vec4<f32>, 256>;
var<workgroup> right: array<vec4<f32>, 256>;

fn product_at(pair: u32, turns: u32, t: u32) -> vec4<f32> {
    if (turns > 0u) {
        return products[pair * 256u + t];
    }
    let i = t / 8u;
    let columns = vec4<u32>(0u, 1u, 2u, 3u) + t % 8u * 4u;
    return select(vec4<f32>(), vec4<f32>(1.0), columns == vec4<u32>(i));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let item = group.x + group.y * 32768u;
    let matrix = item / TILES;
    if (matrix >= params.count) {
        return;
    }
    if (before[matrix] != params.sweep) {
        return;
    }
    let tile = item % TILES;
    let meeting = tile < MEETINGS;
    // Of the vectors: the pair whose rows these are, and 32 columns.
    let strip = max(tile, MEETINGS) - MEETINGS;
    let p = select(strip / PAIRS, tile % PAIRS, meeting);
    let r = select(strip % PAIRS, (tile + 1u + tile / PAIRS) % PAIRS, meeting);
    let p_turns = pair_turns[matrix * PAIRS + p];
    let r_turns = select(0u, pair_turns[matrix * PAIRS + r], meeting);
    if (p_turns + r_turns == 0u) {
        return;
    }
    let rows = blocks_of(params.round, p);
    let columns = select(vec2<u32>(2u * r, 2u * r + 1u), blocks_of(params.round, r), meeting);
    let first = matrix * (WIDTH * QUADS);
    for (var t = thread; t < 256u; t += 64u) {
        let at = first + row_of(rows, t / 8u) * QUADS + row_of(columns, t % 8u * 4u) / 4u;
        if (meeting) {
            x[t] = whole[at];
        } else {
            x[t] = vectors[at];
        }
        left[t] = product_at(matrix * PAIRS + p, p_turns, t);
        right[t] = product_at(matrix * PAIRS + r, r_turns, t);
    }
    workgroupBarrier();
    let i = thread / 8u;
    let j = thread % 8u;
    // The transposed product of `left^T x` for a meeting, and `left^T x` for vectors.
    var sums = mat4x4<f32>();
    for (var k = 0u; k < 32u; k++) {
        let l = left[k * 8u + select(i, j, meeting)];
        let e = x[k * 8u + select(j, i, meeting)];
        let outer = select(l, e, meeting);
        let inner = select(e, l, meeting);
        sums[0] += outer.x * inner;
        sums[1] += outer.y * inner;
        sums[2] += outer.z * inner;
        sums[3] += outer.w * inner;
    }
    workgroupBarrier();
    for (var k = 0u; k < 4u; k++) {
        x[(4u * i + k) * 8u + j] = sums[k];
    }
    workgroupBarrier();
    var results = mat4x4<f32>();
    for (var k = 0u; k < 32u; k++) {
        let l = x[k * 8u + i];
        let e = right[k * 8u + j];
        results[0] += l.x * e;
        results[1] += l.y * e;
        results[2] += l.z * e;
        results[3] += l.w * e;
    }
    let top = 4u * i;
    let side = 4u * j;
    for (var k = 0u; k < 4u; k++) {
        let at = first + row_of(rows, top + k) * QUADS + row_of(columns, side) / 4u;
        if (meeting) {
            whole[at] = results[k];
        } else {
            vectors[at] = sums[k];
        }
    }
    if (meeting) {
        let other = transpose(results);
        for (var k = 0u; k < 4u; k++) {
            whole[first + row_of(columns, side + k) * QUADS + row_of(rows, top) / 4u] = other[k];
        }
    }
}
