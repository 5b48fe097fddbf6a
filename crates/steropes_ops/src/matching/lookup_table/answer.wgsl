// An invocation for each answer. No pixel was asked for twice.
//
// Header: THREADS.

struct Params { tracks: u32, pixels: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> known: array<u32>;
@group(0) @binding(1) var<storage, read> asked: array<u32>;
@group(0) @binding(2) var<storage, read> count: array<u32>;
@group(0) @binding(3) var<storage, read> answers: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * THREADS + thread;
    if (at < min(count[0], params.tracks)) {
        let pixel = asked[at];
        if (pixel < params.pixels) {
            known[pixel] = answers[at];
        }
    }
}
