// An invocation turns one pack of pairs in HEADS_EACH heads of a token: sines and cosines once, all loads before the first
// use. Neighbouring invocations take neighbouring packs, then the other axis, then the next head.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed; Turns, SignedTurns (integers in the shape of Quad); THREADS, HEADS
// (of a token), FIRST_HEAD and SOME_HEADS (those that turn), HEADS_EACH, HEAD_LANES (invocations that share the heads of a token), CHUNKS (packs of a quarter of a head), DIRECTION;
// frequencies, position; y, x_at.

struct Params { count: u32, shift: u32, positions_shift: u32 }
var<immediate> params: Params;

// The upper half of the product.
fn high_product(a: u32, b: Turns) -> Turns {
    let half = Turns(0xffffu);
    let bits = Turns(16u);
    let a_low = Turns(a & 0xffffu);
    let a_high = Turns(a >> 16u);
    let b_low = b & half;
    let b_high = b >> bits;
    let one = a_high * b_low + ((a_low * b_low) >> bits);
    let other = a_low * b_high + (one & half);
    return a_high * b_high + (one >> bits) + (other >> bits);
}

struct Rotation { cosine: Quad, sine: Quad }

// From turns in units of 2^-32. The nearest quarter turn is taken off in integers, so that the polynomials see at most pi / 4;
// they were fitted for this file at the Chebyshev nodes, to within 1e-8.
fn rotation(turns: Turns) -> Rotation {
    let quarters = (turns + Turns(0x20000000u)) >> Turns(30u);
    let rest = bitcast<SignedTurns>(turns - (quarters << Turns(30u)));
    let a = Quad(rest) * 1.4629180792671596e-9;
    let z = a * a;
    let s = a + a * z * (-1.66666641831398e-1 + z * (8.332747966051102e-3 - z * 1.9587890710681677e-4));
    let c = Quad(1.0) - 0.5 * z
        + z * z * (4.16666641831398e-2 + z * (-1.388830249197781e-3 + z * 2.454794230288826e-5));
    let odd = (quarters & Turns(1u)) != Turns(0u);
    let sine = select(s, c, odd);
    let cosine = select(c, s, odd);
    let back = (quarters & Turns(2u)) != Turns(0u);
    let left = ((quarters + Turns(1u)) & Turns(2u)) != Turns(0u);
    return Rotation(select(cosine, -cosine, left), DIRECTION * select(sine, -sine, back));
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let chunk = i % CHUNKS;
    let axis = i / CHUNKS % 2u;
    let head_lane = i / (2u * CHUNKS) % HEAD_LANES;
    let token = i / (2u * CHUNKS * HEAD_LANES);
    let first = params.shift + (token * HEADS + FIRST_HEAD) * (4u * CHUNKS) + axis * 2u * CHUNKS + chunk;
    var us: array<Pack, HEADS_EACH>;
    var vs: array<Pack, HEADS_EACH>;
    for (var k = 0u; k < HEADS_EACH; k++) {
        // Behind the last head it is read again and not stored.
        let u = first + min(head_lane + k * HEAD_LANES, SOME_HEADS - 1u) * (4u * CHUNKS);
        us[k] = x_at(u);
        vs[k] = x_at(u + CHUNKS);
    }
    let at = position(params.positions_shift + 2u * token + axis);
    let frequency = frequencies(chunk);
    var turned: array<Rotation, QUADS>;
    for (var q = 0u; q < QUADS; q++) {
        let low = frequency[q].low;
        turned[q] = rotation(at.x * frequency[q].high + high_product(at.x, low) + at.y * low);
    }
    for (var k = 0u; k < HEADS_EACH; k++) {
        let head = head_lane + k * HEAD_LANES;
        if (head < SOME_HEADS) {
            let u = unpacked(us[k]);
            let v = unpacked(vs[k]);
            var new_u: Quads;
            var new_v: Quads;
            for (var q = 0u; q < QUADS; q++) {
                new_u[q] = u[q] * turned[q].cosine - v[q] * turned[q].sine;
                new_v[q] = v[q] * turned[q].cosine + u[q] * turned[q].sine;
            }
            let to = first + head * (4u * CHUNKS);
            y[to] = packed(new_u);
            y[to + CHUNKS] = packed(new_v);
        }
    }
}
