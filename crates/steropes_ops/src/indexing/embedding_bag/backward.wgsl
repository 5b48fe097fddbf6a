// An invocation for each column of each entry, in the order of their rows; those of the first entry of a row add all of it, one after
// another.
//
// Header: Elem; share (of an entry in a value of the gradient).

struct Params { entries: u32, width: u32, rows: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> keys: array<u32>;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read> bag_of: array<u32>;
@group(0) @binding(3) var<storage, read> share_of: array<f32>;
@group(0) @binding(4) var<storage, read> grad: array<Elem>;
@group(0) @binding(5) var<storage, read_write> y: array<Elem>;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * 128u + thread;
    let first = at / params.width;
    let column = at % params.width;
    if (first >= params.entries) {
        return;
    }
    let row = keys[first];
    if (row >= params.rows || (first > 0u && keys[max(first, 1u) - 1u] == row)) {
        return;
    }
    var sum = 0.0;
    for (var i = first; i < params.entries; i++) {
        if (keys[i] != row) {
            break;
        }
        let entry = order[i];
        let place = bag_of[entry] * params.width + column;
        sum += share_of[entry] * share(place, entry) * f32(grad[place]);
    }
    y[row * params.width + column] = Elem(sum);
}
