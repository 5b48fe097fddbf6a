// Sets every vector of a buffer to one word. One invocation for each four words.

struct Params { word: u32, count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> y: array<vec4<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * 256u + thread;
    if (i < params.count) {
        y[i] = vec4<u32>(params.word);
    }
}
