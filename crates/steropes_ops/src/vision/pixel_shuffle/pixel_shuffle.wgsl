// One value of the result for each invocation, in the order of the result. What a workgroup reads are a few whole rows of
// patches, so that the caches make up for the distance of PATCH * PATCH between neighbours.
//
// Header: Elem, THREADS, PATCH, CHANNELS.

// `width` is that of the result in pixels, `shift` the values before the first row in both arrays.
struct Params { count: u32, width: u32, shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<Elem>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let pixel = i / CHANNELS;
    let channel = i % CHANNELS;
    let row = pixel / params.width;
    let column = pixel % params.width;
    let token = row / PATCH * (params.width / PATCH) + column / PATCH;
    let tap = row % PATCH * PATCH + column % PATCH;
    y[params.shift + i] = x[params.shift + (token * CHANNELS + channel) * (PATCH * PATCH) + tap];
}
