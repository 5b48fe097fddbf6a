// Products of the matrices of two stacks, of which one may be transposed: a tile of 16 x 16 results for each workgroup, one for each invocation.
//
// Header: N, TILES (along a side), LEFT_TRANSPOSED, RIGHT_TRANSPOSED, is_wanted.

struct Params {
    count: u32,
    left_shift: u32,
    right_shift: u32,
    to_shift: u32,
    wanted_shift: u32,
    number: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> left: array<f32>;
@group(0) @binding(1) var<storage, read> right: array<f32>;
@group(0) @binding(2) var<storage, read_write> to: array<f32>;

var<workgroup> rows: array<f32, 272>;
var<workgroup> columns: array<f32, 272>;

fn place(i: u32, j: u32, transposed: bool) -> u32 {
    return select(i * N + j, j * N + i, transposed);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let item = group.x + group.y * 32768u;
    let inside = item < params.count * (TILES * TILES);
    let matrix = min(item / (TILES * TILES), params.count - 1u);
    if (!is_wanted(matrix)) {
        return;
    }
    let first = matrix * (N * N);
    let row = item / TILES % TILES * 16u;
    let column = item % TILES * 16u;
    let i = thread / 16u;
    let j = thread % 16u;
    var sum = 0.0;
    for (var k = 0u; k < N; k += 16u) {
        // Neighbouring invocations read neighbouring entries, transposed or not.
        let left_at = select(vec2<u32>(i, j), vec2<u32>(j, i), LEFT_TRANSPOSED);
        let right_at = select(vec2<u32>(i, j), vec2<u32>(j, i), RIGHT_TRANSPOSED);
        var l = 0.0;
        if (row + left_at.x < N && k + left_at.y < N) {
            l = left[params.left_shift + first + place(row + left_at.x, k + left_at.y, LEFT_TRANSPOSED)];
        }
        var r = 0.0;
        if (k + right_at.x < N && column + right_at.y < N) {
            r = right[params.right_shift + first + place(k + right_at.x, column + right_at.y, RIGHT_TRANSPOSED)];
        }
        rows[left_at.x * 17u + left_at.y] = l;
        columns[right_at.x * 17u + right_at.y] = r;
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
