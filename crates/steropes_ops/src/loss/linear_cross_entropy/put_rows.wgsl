// An invocation for each value: copies it behind `first` others.

struct Params { count: u32, first: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * 256u + thread;
    if (at < params.count) {
        y[params.first + at] = x[at];
    }
}
