// Products of small matrices on registers alone. Each of the 8 subgroups of a workgroup runs 8 sums side by side, so that none waits
// for another. All sums are stored, so that the compiler keeps them.

struct Params { rounds: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
const AREA: u32 = TILE * TILE;
var<workgroup> tiles: array<Elem, 9u * AREA>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    for (var i = thread; i < 9u * AREA; i += 256u) {
        tiles[i] = x[i];
    }
    workgroupBarrier();
    let a0 = coopLoadT<Left>(&tiles[0], TILE);
    let a1 = coopLoadT<Left>(&tiles[AREA], TILE);
    let a2 = coopLoadT<Left>(&tiles[2u * AREA], TILE);
    let a3 = coopLoadT<Left>(&tiles[3u * AREA], TILE);
    let a4 = coopLoadT<Left>(&tiles[4u * AREA], TILE);
    let a5 = coopLoadT<Left>(&tiles[5u * AREA], TILE);
    let a6 = coopLoadT<Left>(&tiles[6u * AREA], TILE);
    let a7 = coopLoadT<Left>(&tiles[7u * AREA], TILE);
    let b = coopLoadT<Right>(&tiles[8u * AREA], TILE);
    var c0: Sum;
    var c1: Sum;
    var c2: Sum;
    var c3: Sum;
    var c4: Sum;
    var c5: Sum;
    var c6: Sum;
    var c7: Sum;
    for (var i = 0u; i < params.rounds; i++) {
        c0 = coopMultiplyAdd(a0, b, c0);
        c1 = coopMultiplyAdd(a1, b, c1);
        c2 = coopMultiplyAdd(a2, b, c2);
        c3 = coopMultiplyAdd(a3, b, c3);
        c4 = coopMultiplyAdd(a4, b, c4);
        c5 = coopMultiplyAdd(a5, b, c5);
        c6 = coopMultiplyAdd(a6, b, c6);
        c7 = coopMultiplyAdd(a7, b, c7);
    }
    // 128 places are enough to keep the stores apart for as long as they last.
    let p0 = ((group.x * 8u + thread / 32u) % 128u) * 8u * AREA;
    let p1 = p0 + AREA;
    let p2 = p1 + AREA;
    let p3 = p2 + AREA;
    let p4 = p3 + AREA;
    let p5 = p4 + AREA;
    let p6 = p5 + AREA;
    let p7 = p6 + AREA;
    workgroupBarrier();
    coopStoreT(c0, &y[p0], TILE);
    coopStoreT(c1, &y[p1], TILE);
    coopStoreT(c2, &y[p2], TILE);
    coopStoreT(c3, &y[p3], TILE);
    coopStoreT(c4, &y[p4], TILE);
    coopStoreT(c5, &y[p5], TILE);
    coopStoreT(c6, &y[p6], TILE);
    coopStoreT(c7, &y[p7], TILE);
}
