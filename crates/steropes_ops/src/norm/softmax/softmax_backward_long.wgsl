// As softmax_backward.wgsl for what does not fit registers: result and gradient are read twice, BLOCK packs of each at a time, so
// that many loads are on their way.
//
// Header: as softmax.wgsl, and BLOCK.

struct Params { items: u32, shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> y: array<Pack>;
@group(0) @binding(1) var<storage, read> grad: array<Pack>;
@group(0) @binding(2) var<storage, read_write> grad_x: array<Pack>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let place = place_of(group, thread, params.items, params.shift);
    var own: Quads;
    for (var i = 0u; i < PER_THREAD; i += BLOCK) {
        let block = block_at(place, i);
        for (var b = 0u; b < BLOCK; b++) {
            for (var q = 0u; q < QUADS; q++) {
                own[q] += term(block.values[b][q], block.grads[b][q]);
            }
        }
    }
    let sum = axis_sum(own, thread);
    for (var i = 0u; i < PER_THREAD; i += BLOCK) {
        var block = block_at(place, i);
        for (var b = 0u; b < BLOCK; b++) {
            let c = place.slot + (i + b) * SLOTS;
            if (place.inside && c < LEN) {
                for (var q = 0u; q < QUADS; q++) {
                    block.grads[b][q] = slope(block.values[b][q], block.grads[b][q], sum[q]);
                }
                grad_x[place.first + c * STRIDE] = packed(block.grads[b]);
            }
        }
    }
}

struct Block { values: array<Quads, BLOCK>, grads: array<Quads, BLOCK> }

// BLOCK packs of result and gradient; what lies behind the end adds nothing to a sum.
fn block_at(place: Place, i: u32) -> Block {
    var block: Block;
    for (var b = 0u; b < BLOCK; b++) {
        let c = place.slot + (i + b) * SLOTS;
        if (c < LEN) {
            block.values[b] = unpacked(y[place.first + c * STRIDE]);
            block.grads[b] = unpacked(grad[place.first + c * STRIDE]);
        }
    }
    return block;
}
