// One round of a tournament of blocks of 4 columns: two blocks for each workgroup, an invocation for every THREADS-th row. Four pairs of
// their 8 columns at a time add up their products, and are turned; columns of the turns are multiplied with the product of all turns at the
// end. The first round of a sweep also turns the pairs within a block.
//
// `before` says whether the last sweep turned anything in this matrix; if not, nothing is done.
//
// Header: LENGTH, WIDTH, PAIRS (pairs of blocks), THREADS, IN_TILE (the columns fit workgroup memory) with column_at and set_column, turn_stored
// (multiplies rows of the turns, if they are wanted), the text of turn.wgsl.

struct Params { count: u32, round: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> columns: array<f32>;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read_write> turned: array<atomic<u32>>;

const PLAYERS: u32 = 2u * PAIRS;
const PARTS: u32 = 8u;
var<workgroup> products: array<f32, 12u * THREADS>;
var<workgroup> parts: array<f32, 12u * PARTS>;
var<workgroup> turns: array<vec4<f32>, 4>;
var<workgroup> together: array<f32, 64>;

// Pair `k` of step `step`: three steps within the blocks, four across.
fn pair_of(step: u32, k: u32) -> vec2<u32> {
    if (step >= 3u) { return vec2<u32>(k, 4u + (k + step - 3u) % 4u); }
    // 01 23, 02 13, 03 12
    let low = select(0u, 1u, k % 2u == 1u);
    let partner = select(step + 1u, select(select(2u, 3u, step == 1u), 3u, step == 0u), low == 1u);
    let start = select(low, 2u, step == 0u && low == 1u);
    return vec2<u32>(start, partner) + 4u * (k / 2u);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let matrix = index / PAIRS;
    if (matrix >= params.count || before[matrix] == 0u) { return; }
    let number = index % PAIRS;
    let one = select((params.round + number) % (PLAYERS - 1u), PLAYERS - 1u, number == 0u);
    let other = (params.round + PLAYERS - 1u - number) % (PLAYERS - 1u);
    let blocks = vec2<u32>(min(one, other), max(one, other)) * 4u;
    let first = matrix * (LENGTH * WIDTH);
    for (var c = 0u; c < 8u; c++) {
        let column = block_column(blocks, c);
        for (var r = thread; r < LENGTH; r += THREADS) {
            if (IN_TILE && column < WIDTH) { set_column(0u, c, r, columns[first + column * LENGTH + r]); }
        }
    }
    for (var i = thread; i < 64u; i += THREADS) { together[i] = select(0.0, 1.0, i % 9u == 0u); }
    var any = false;
    for (var step = select(3u, 0u, params.round == 0u); step < 7u; step++) {
        for (var k = 0u; k < 4u; k++) {
            let pair = pair_of(step, k);
            let p = block_column(blocks, pair.x);
            let q = block_column(blocks, pair.y);
            var sums = vec3<f32>();
            if (p < WIDTH && q < WIDTH) {
                for (var r = thread; r < LENGTH; r += THREADS) {
                    let x = column_at(first + p * LENGTH, pair.x, r);
                    let y = column_at(first + q * LENGTH, pair.y, r);
                    sums = fma(vec3<f32>(x, y, x), vec3<f32>(x, y, y), sums);
                }
            }
            products[(3u * k) * THREADS + thread] = sums.x;
            products[(3u * k + 1u) * THREADS + thread] = sums.y;
            products[(3u * k + 2u) * THREADS + thread] = sums.z;
        }
        workgroupBarrier();
        for (var i = thread; i < 12u * PARTS; i += THREADS) {
            var sum = 0.0;
            for (var j = i % PARTS; j < THREADS; j += PARTS) { sum += products[i / PARTS * THREADS + j]; }
            parts[i] = sum;
        }
        workgroupBarrier();
        if (thread < 4u) {
            var sums = vec3<f32>();
            for (var j = 0u; j < PARTS; j++) {
                sums += vec3<f32>(
                    parts[3u * thread * PARTS + j], parts[(3u * thread + 1u) * PARTS + j], parts[(3u * thread + 2u) * PARTS + j]);
            }
            let turn = turn_of(sums.x, sums.y, sums.z, LENGTH);
            turns[thread] = vec4<f32>(turn.sine, turn.half, f32(turn.swap), f32(turn.turned));
            if (turn.turned) { atomicStore(&turned[matrix], 1u); }
        }
        workgroupBarrier();
        for (var k = 0u; k < 4u; k++) {
            let turn = Turn(turns[k].x, turns[k].y, turns[k].z > 0.5, turns[k].w > 0.5);
            if (turn.turned) {
                any = true;
                let pair = pair_of(step, k);
                let p = first + block_column(blocks, pair.x) * LENGTH;
                let q = first + block_column(blocks, pair.y) * LENGTH;
                for (var r = thread; r < LENGTH; r += THREADS) {
                    let both = turn_pair(turn, column_at(p, pair.x, r), column_at(q, pair.y, r));
                    set_column(p, pair.x, r, both.x);
                    set_column(q, pair.y, r, both.y);
                }
                if (thread < 8u) {
                    let both = turn_pair(turn, together[thread * 8u + pair.x], together[thread * 8u + pair.y]);
                    together[thread * 8u + pair.x] = both.x;
                    together[thread * 8u + pair.y] = both.y;
                }
            }
        }
    }
    workgroupBarrier();
    if (any) {
        for (var c = 0u; c < 8u; c++) {
            let column = block_column(blocks, c);
            for (var r = thread; r < LENGTH; r += THREADS) {
                if (IN_TILE && column < WIDTH) { columns[first + column * LENGTH + r] = column_at(0u, c, r); }
            }
        }
        turn_stored(matrix, blocks, thread);
    }
}

// The number of the column that is column `c` of the two blocks.
fn block_column(blocks: vec2<u32>, c: u32) -> u32 {
    return select(blocks.x + c, blocks.y + c - 4u, c >= 4u);
}
