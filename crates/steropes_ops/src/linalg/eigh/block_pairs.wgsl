// One pair of blocks of 16 rows for each workgroup: a sweep over the 32 x 32 entries where its rows and columns meet, and the
// product of the rotations. Matrices where the sweep before turned nothing are done: their workgroups return at once.
//
// Header: N, WIDTH, PAIRS = WIDTH / 32, EPSILON; those of sweep with M = 32; blocks.

struct Params { count: u32, sweep: u32, round: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> whole: array<f32>;
// Of each pair of each matrix: the product of its rotations.
@group(0) @binding(1) var<storage, read_write> products: array<f32>;
// And whether there are any.
@group(0) @binding(2) var<storage, read_write> pair_turns: array<u32>;
// Of each matrix: the number of the last sweep that turned anything, counted from 1, of sweeps before this and of this.
@group(0) @binding(3) var<storage, read> before: array<u32>;
@group(0) @binding(4) var<storage, read_write> now: array<atomic<u32>>;
@group(0) @binding(5) var<storage, read> norms: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let item = group.x + group.y * 32768u;
    let matrix = item / PAIRS;
    if (matrix >= params.count) {
        return;
    }
    if (before[matrix] != params.sweep) {
        return;
    }
    let rows = blocks_of(params.round, item % PAIRS);
    let first = matrix * (WIDTH * WIDTH);
    for (var t = thread; t < M * M; t += THREADS) {
        a[t] = whole[first + row_of(rows, t / M) * WIDTH + row_of(rows, t % M)];
        v[t] = select(0.0, 1.0, t / M == t % M);
    }
    if (thread == 0u) {
        atomicStore(&last_turn, 0u);
    }
    workgroupBarrier();
    let tolerance = 0.25 * EPSILON * bitcast<f32>(norms[2u * matrix + 1u]) / sqrt(f32(N));
    sweep(thread, true, 1u, tolerance);
    let any = atomicLoad(&last_turn);
    if (any > 0u) {
        for (var t = thread; t < M * M; t += THREADS) {
            whole[first + row_of(rows, t / M) * WIDTH + row_of(rows, t % M)] = a[t];
            products[item * (M * M) + t] = v[t % M * M + t / M];
        }
    }
    if (thread == 0u) {
        pair_turns[item] = any;
        if (any > 0u) {
            atomicMax(&now[matrix], params.sweep + 1u);
        }
    }
}
