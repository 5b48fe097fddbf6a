// Copies 16-byte vectors. Each invocation moves 4, one workgroup apart, so that each load of a subgroup is one stretch of memory.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = (group.x + group.y * 32768u) * 1024u + thread;
    if (first + 768u < params.count) {
        let a = x[first];
        let b = x[first + 256u];
        let c = x[first + 512u];
        let d = x[first + 768u];
        y[first] = a;
        y[first + 256u] = b;
        y[first + 512u] = c;
        y[first + 768u] = d;
    }
}
