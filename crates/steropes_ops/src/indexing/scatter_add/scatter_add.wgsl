// An invocation for each element, in the order of their places; the first of a place adds all of it, one after another.
//
// Header: Elem.

struct Params { count: u32, none: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> src: array<Elem>;
@group(0) @binding(3) var<storage, read_write> y: array<Elem>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = (group.x + group.y * 32768u) * 256u + thread;
    if (first >= params.count) {
        return;
    }
    let key = keys[first];
    if (key >= params.none || (first > 0u && keys[max(first, 1u) - 1u] == key)) {
        return;
    }
    var sum = f32(y[key]);
    for (var i = first; i < params.count; i++) {
        if (keys[i] != key) {
            break;
        }
        sum += f32(src[order[i]]);
    }
    y[key] = Elem(sum);
}
