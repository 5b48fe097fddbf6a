// One invocation for each pixel.
//
// Header: THREADS.

struct Params { first: u32, count: u32, width: u32, origin_x: i32, origin_y: i32, shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> grid: array<vec2<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let pixel = params.first + i;
        let place = vec2<u32>(pixel % params.width, pixel / params.width);
        grid[params.shift + i] = vec2<f32>(vec2<i32>(params.origin_x, params.origin_y) + vec2<i32>(place));
    }
}
