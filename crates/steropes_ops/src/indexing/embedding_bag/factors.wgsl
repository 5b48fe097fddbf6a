// A workgroup for each entry: the product of its row with the gradient of its bag, which it finds by bisection. Sums meet in workgroup
// memory in a tree.
//
// Header: Elem; WITH_END, bag_bound; indices_at, indices_is_below.

@group(0) @binding(0) var<storage, read> weight: array<Elem>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read> grad: array<Elem>;
@group(0) @binding(4) var<storage, read_write> y: array<Elem>;

var<workgroup> partial: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let wanted = group.x + group.y * 32768u;
    // Workgroups behind the end compute along with the last entry, because all invocations meet below.
    let entry = min(wanted, params.entries - 1u);
    let row = indices_at(entry);
    // The last bag that begins at or before the entry.
    var low = 0u;
    var high = params.bags;
    while (low + 1u < high) {
        let middle = (low + high) / 2u;
        if (bag_bound(middle) <= entry) {
            low = middle;
        } else {
            high = middle;
        }
    }
    let inside = bag_bound(low) <= entry && entry < bag_bound(low + 1u);
    let known = inside && indices_is_below(row, params.rows) && row.x != params.padding;
    var sum = 0.0;
    if (known) {
        for (var c = thread; c < params.width; c += 64u) {
            sum += f32(grad[low * params.width + c]) * f32(weight[row.x * params.width + c]);
        }
    }
    partial[thread] = sum;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            partial[thread] = partial[thread] + partial[thread + half];
        }
    }
    if (thread == 0u && wanted < params.entries) {
        y[wanted] = Elem(partial[0]);
    }
}
