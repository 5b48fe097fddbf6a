// One workgroup for each 64 x 64 tile of the result: factors pass through workgroup memory in slices of 16, each of the 256
// invocations sums a 4 x 4 grid of elements, 16 apart. Sums are over k in order.
//
// Header: ADDS, LOWER, FACTOR; A_DOWN and B_ACROSS (which elements of a factor lie one after another); a_at, b_at.

struct Params {
    groups: u32, across: u32, tiles: u32, m: u32, n: u32, k: u32,
    c_start: u32, c_row: u32, c_column: u32, c_step: u32,
    a_start: u32, a_row: u32, a_column: u32, a_step: u32,
    b_start: u32, b_row: u32, b_column: u32, b_step: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> c: array<f32>;

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
const PITCH: u32 = 66u;
var<workgroup> left: array<f32, DEPTH * PITCH>;
var<workgroup> right: array<f32, DEPTH * PITCH>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    if (index >= params.groups) {
        return;
    }
    let batch = index / params.tiles;
    let tile = index % params.tiles;
    let row = tile / params.across * TILE;
    let column = tile % params.across * TILE;
    if (LOWER && column >= row + TILE) {
        return;
    }
    let a_first = params.a_start + batch * params.a_step;
    let b_first = params.b_start + batch * params.b_step;
    let down = thread / 16u;
    let over = thread % 16u;
    var sums: array<vec4<f32>, 4>;
    for (var depth = 0u; depth < params.k; depth += DEPTH) {
        for (var t = 0u; t < 4u; t++) {
            let e = thread + t * 256u;
            let i = select(e / DEPTH, e % TILE, A_DOWN);
            let a_k = select(e % DEPTH, e / TILE, A_DOWN);
            var x = 0.0;
            if (row + i < params.m && depth + a_k < params.k) {
                x = a_at(a_first + (row + i) * params.a_row + (depth + a_k) * params.a_column);
            }
            left[a_k * PITCH + i] = x;
            let j = select(e / DEPTH, e % TILE, B_ACROSS);
            let b_k = select(e % DEPTH, e / TILE, B_ACROSS);
            var y = 0.0;
            if (column + j < params.n && depth + b_k < params.k) {
                y = b_at(b_first + (depth + b_k) * params.b_row + (column + j) * params.b_column);
            }
            right[b_k * PITCH + j] = y;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let l = k * PITCH + down;
            let r = k * PITCH + over;
            let values = vec4(right[r], right[r + 16u], right[r + 32u], right[r + 48u]);
            for (var i = 0u; i < 4u; i++) {
                sums[i] += left[l + i * 16u] * values;
            }
        }
        workgroupBarrier();
    }
    // All on their way at once, before any is stored.
    var before: array<vec4<f32>, 4>;
    if (ADDS) {
        for (var i = 0u; i < 4u; i++) {
            for (var j = 0u; j < 4u; j++) {
                let r = row + down + i * 16u;
                let s = column + over + j * 16u;
                if (is_written(r, s)) {
                    before[i][j] = c[place(batch, r, s)];
                }
            }
        }
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            let r = row + down + i * 16u;
            let s = column + over + j * 16u;
            if (is_written(r, s)) {
                var value = FACTOR * sums[i][j];
                if (ADDS) {
                    value += before[i][j];
                }
                c[place(batch, r, s)] = value;
            }
        }
    }
}

fn is_written(r: u32, s: u32) -> bool {
    return r < params.m && s < params.n && (!LOWER || s <= r);
}

fn place(batch: u32, r: u32, s: u32) -> u32 {
    return params.c_start + batch * params.c_step + r * params.c_row + s * params.c_column;
}
