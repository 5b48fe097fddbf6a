// One row of a matrix for each workgroup: scaled, both triangles, zeros behind the end; the same row of the vectors, of the
// identity at first; and the largest sum of a row.
//
// Header: N, WIDTH (a multiple of 32), LOWER, THREADS; rotation, element.

struct Params { rows: u32, a_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read_write> norms: array<atomic<u32>>;
@group(0) @binding(2) var<storage, read_write> a: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;

var<workgroup> sums: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let inside = index < params.rows;
    let row = min(index, params.rows - 1u);
    let matrix = row / WIDTH;
    let i = row % WIDTH;
    let first = params.a_shift + matrix * (N * N);
    let largest = atomicLoad(&norms[2u * matrix]);
    var sum = 0.0;
    for (var j = thread; j < WIDTH; j += THREADS) {
        var x = 0.0;
        if (i < N && j < N && largest < BITS_OF_INFINITE) {
            x = bitcast<f32>(source[first + element(i, j)]) * scale_of(largest);
        }
        sum += abs(x);
        if (inside) {
            a[row * WIDTH + j] = x;
            v[row * WIDTH + j] = select(0.0, 1.0, i == j);
        }
    }
    sums[thread] = sum;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if (thread < step) {
            sums[thread] += sums[thread + step];
        }
        workgroupBarrier();
    }
    if (inside && thread == 0u) {
        atomicMax(&norms[2u * matrix + 1u], bitcast<u32>(sums[0]));
    }
}
