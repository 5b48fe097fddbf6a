// One value for each workgroup: its place in ascending order, and its vector there with the sign of the contract.
//
// Header: N, WIDTH, SWEEPS, THREADS; rotation.

struct Params { count: u32, values_shift: u32, vectors_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> norms: array<u32>;
@group(0) @binding(2) var<storage, read> last_turn: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<u32>;

var<workgroup> gathered: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let inside = index < params.count;
    let item = min(index, params.count - 1u);
    let matrix = item / N;
    let own = item % N;
    let first = matrix * (WIDTH * WIDTH);
    let value = a[first + own * (WIDTH + 1u)];
    var before = 0u;
    for (var i = thread; i < N; i += THREADS) {
        let other = a[first + i * (WIDTH + 1u)];
        before += u32(other < value || (other == value && i < own));
    }
    gathered[thread] = before;
    workgroupBarrier();
    for (var step = THREADS / 2u; step > 0u; step /= 2u) {
        if (thread < step) {
            gathered[thread] += gathered[thread + step];
        }
        workgroupBarrier();
    }
    let rank = gathered[0];
    workgroupBarrier();
    let largest = norms[2u * matrix];
    let valid = largest < BITS_OF_INFINITE && last_turn[matrix] < SWEEPS;
    if (inside && thread == 0u) {
        let bits = bitcast<u32>(value * unscale_of(largest));
        values[params.values_shift + matrix * N + rank] = select(NOT_A_NUMBER, bits, valid);
    }
    write_vector(matrix, own, rank, thread, inside, valid);
}
