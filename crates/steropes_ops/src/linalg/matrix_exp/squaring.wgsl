// Squares of the matrices of a stack that want another one: a tile of 16 x 16 results for each workgroup, one for each invocation.
//
// Header: N, TILES (along a side).

struct Params {
    count: u32,
    x_shift: u32,
    to_shift: u32,
    wanted_shift: u32,
    // Those that want more than this take part.
    number: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> to: array<f32>;
@group(0) @binding(2) var<storage, read> wanted: array<u32>;

var<workgroup> rows: array<f32, 272>;
var<workgroup> columns: array<f32, 272>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let item = group.x + group.y * 32768u;
    let inside = item < params.count * (TILES * TILES);
    let matrix = min(item / (TILES * TILES), params.count - 1u);
    if (wanted[params.wanted_shift + matrix] <= params.number) {
        return;
    }
    let first = matrix * (N * N);
    let row = item / TILES % TILES * 16u;
    let column = item % TILES * 16u;
    let i = thread / 16u;
    let j = thread % 16u;
    var sum = 0.0;
    for (var k = 0u; k < N; k += 16u) {
        var l = 0.0;
        if (row + i < N && k + j < N) {
            l = x[params.x_shift + first + (row + i) * N + k + j];
        }
        var r = 0.0;
        if (k + i < N && column + j < N) {
            r = x[params.x_shift + first + (k + i) * N + column + j];
        }
        rows[i * 17u + j] = l;
        columns[i * 17u + j] = r;
        workgroupBarrier();
        for (var m = 0u; m < 16u; m++) {
            sum += rows[i * 17u + m] * columns[m * 17u + j];
        }
        workgroupBarrier();
    }
    if (inside && row + i < N && column + j < N) {
        to[params.to_shift + first + (row + i) * N + column + j] = sum;
    }
}
