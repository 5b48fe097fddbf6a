// One matrix for each workgroup: its largest entry, then its columns (of the transposed matrix if there are fewer) one after another,
// scaled. A matrix with NaN or an infinity becomes zeros, its scale 0.
//
// Header: LENGTH, WIDTH, TRANSPOSED, start_turns (writes an identity, if turns are wanted), the text of turn.wgsl.

struct Params { count: u32, shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read_write> columns: array<f32>;
@group(0) @binding(2) var<storage, read_write> scales: array<f32>;

const THREADS: u32 = 128u;
var<workgroup> partial: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x + group.y * 32768u;
    if (matrix >= params.count) { return; }
    let start = params.shift + matrix * (LENGTH * WIDTH);
    var largest = 0u;
    for (var i = thread; i < LENGTH * WIDTH; i += THREADS) { largest = max(largest, a[start + i] & 0x7fffffffu); }
    partial[thread] = largest;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) { partial[thread] = max(partial[thread], partial[thread + half]); }
    }
    workgroupBarrier();
    let scale = scale_of(partial[0]);
    let finite = partial[0] < 0x7f800000u;
    if (thread == 0u) { scales[matrix] = scale; }
    let to = matrix * (LENGTH * WIDTH);
    for (var i = thread; i < LENGTH * WIDTH; i += THREADS) {
        let place = select(i % WIDTH * LENGTH + i / WIDTH, i, TRANSPOSED);
        columns[to + place] = scale * bitcast<f32>(select(0u, a[start + i], finite));
    }
    start_turns(matrix, thread);
}
