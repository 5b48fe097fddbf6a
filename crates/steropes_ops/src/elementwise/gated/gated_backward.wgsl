// The gradients of activated(gate) up, which is computed again: PER_THREAD packs for each invocation. Behind the end the last
// pack is computed again and not stored.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed; THREADS, PER_THREAD, first_pack; activated, slope.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> gate: array<Pack>;
@group(0) @binding(1) var<storage, read> up: array<Pack>;
@group(0) @binding(2) var<storage, read> grad: array<Pack>;
@group(0) @binding(3) var<storage, read_write> grad_gate: array<Pack>;
@group(0) @binding(4) var<storage, read_write> grad_up: array<Pack>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = first_pack(group, thread);
    var gates: array<Pack, PER_THREAD>;
    var ups: array<Pack, PER_THREAD>;
    var grads: array<Pack, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = min(first + i * THREADS, params.count - 1u);
        gates[i] = gate[p];
        ups[i] = up[p];
        grads[i] = grad[p];
    }
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = first + i * THREADS;
        if (p < params.count) {
            var of_gate = unpacked(gates[i]);
            var of_up = unpacked(ups[i]);
            let given = unpacked(grads[i]);
            for (var q = 0u; q < QUADS; q++) {
                let x = of_gate[q];
                of_gate[q] = given[q] * of_up[q] * slope(x);
                of_up[q] = given[q] * activated(x);
            }
            grad_gate[p] = packed(of_gate);
            grad_up[p] = packed(of_up);
        }
    }
}
