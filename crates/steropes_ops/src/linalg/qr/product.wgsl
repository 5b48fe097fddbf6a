// c = factor a b, or that added to c, for every matrix of a stack: a workgroup makes a tile of 64 x 64, an invocation 4 x 4 of it, from
// 16 columns of a and rows of b at a time in workgroup memory. Factors and results may be parts of larger matrices, and factors
// transposed.
//
// Header: A_TRANSPOSED, B_TRANSPOSED.

struct Params {
    m: u32, n: u32, k: u32,
    tiles_m: u32, tiles_n: u32, groups: u32, rows: u32,
    a_first: u32, a_row: u32, a_matrix: u32,
    b_first: u32, b_row: u32, b_matrix: u32,
    c_first: u32, c_row: u32, c_matrix: u32,
    factor: f32, adds: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

var<workgroup> a_tile: array<f32, 16u * 68u>;
var<workgroup> b_tile: array<f32, 16u * 68u>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let g = group.x + group.y * 32768u;
    if (g >= params.groups) {
        return;
    }
    let tiles = params.tiles_m * params.tiles_n;
    let matrix = g / tiles;
    let top = g % tiles / params.tiles_n * 64u;
    let left = g % params.tiles_n * 64u;
    // The last matrix may have fewer rows.
    let m = min(params.m, params.rows - matrix * params.m);
    let tile_row = thread / 16u;
    let tile_column = thread % 16u;
    var sums: array<vec4<f32>, 4>;
    for (var depth = 0u; depth < params.k; depth += 16u) {
        for (var quarter = 0u; quarter < 4u; quarter++) {
            // Neighbours read neighbouring values.
            let e = thread + quarter * 256u;
            let ai = select(e / 16u, e % 64u, A_TRANSPOSED);
            let ak = select(e % 16u, e / 64u, A_TRANSPOSED);
            var x = 0.0;
            if (top + ai < m && depth + ak < params.k) {
                let at = select(
                    (top + ai) * params.a_row + depth + ak, (depth + ak) * params.a_row + top + ai, A_TRANSPOSED);
                x = a[params.a_first + matrix * params.a_matrix + at];
            }
            a_tile[ak * 68u + ai] = x;
            let bj = select(e % 64u, e / 16u, B_TRANSPOSED);
            let bk = select(e / 64u, e % 16u, B_TRANSPOSED);
            var y = 0.0;
            if (left + bj < params.n && depth + bk < params.k) {
                let at = select(
                    (depth + bk) * params.b_row + left + bj, (left + bj) * params.b_row + depth + bk, B_TRANSPOSED);
                y = b[params.b_first + matrix * params.b_matrix + at];
            }
            b_tile[bk * 68u + bj] = y;
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
            let x = k * 68u + tile_row * 4u;
            let e = k * 68u + tile_column * 4u;
            let y = vec4<f32>(b_tile[e], b_tile[e + 1u], b_tile[e + 2u], b_tile[e + 3u]);
            sums[0] += a_tile[x] * y;
            sums[1] += a_tile[x + 1u] * y;
            sums[2] += a_tile[x + 2u] * y;
            sums[3] += a_tile[x + 3u] * y;
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            let row = top + tile_row * 4u + i;
            let column = left + tile_column * 4u + j;
            if (row < m && column < params.n) {
                let at = params.c_first + matrix * params.c_matrix + row * params.c_row + column;
                var sum = params.factor * sums[i][j];
                if (params.adds != 0u) {
                    sum += c[at];
                }
                c[at] = sum;
            }
        }
    }
}
