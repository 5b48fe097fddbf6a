// One matrix for each workgroup, its columns in workgroup memory, below each its column of the turns if that fits (TILE_LENGTH is then
// LENGTH + WIDTH). In a round of a tournament every column meets one other; LANES invocations for each of the PAIRS pairs add up a part of
// the products each, meet, and turn the rows that they have in common.
//
// The number of sweeps is fixed, so that no barrier depends on data; after a sweep without a turn nothing is done any more.
//
// Header: LENGTH, WIDTH, TILE_LENGTH, STRIDE, PAIRS, LANES, turn_stored (turns columns of the turns in storage, if they are there),
// load_turn, store_turn, meet (a barrier for all memory that turns touch), the text of turn.wgsl.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> columns: array<f32>;

const SWEEPS: u32 = 24u;
const THREADS: u32 = PAIRS * LANES;
const PLAYERS: u32 = 2u * PAIRS;
var<workgroup> tile: array<f32, WIDTH * STRIDE>;
var<workgroup> parts: array<f32, 3u * THREADS>;
var<workgroup> turned: array<atomic<u32>, SWEEPS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = group.x + group.y * 32768u;
    if (matrix >= params.count) { return; }
    let first = matrix * (LENGTH * WIDTH);
    for (var i = thread; i < LENGTH * WIDTH; i += THREADS) {
        tile[i / LENGTH * STRIDE + i % LENGTH] = columns[first + i];
    }
    for (var i = thread; i < WIDTH * (TILE_LENGTH - LENGTH); i += THREADS) {
        tile[i / WIDTH * STRIDE + LENGTH + i % WIDTH] = load_turn(matrix * (WIDTH * WIDTH) + i);
    }
    for (var i = thread; i < SWEEPS; i += THREADS) { atomicStore(&turned[i], 0u); }
    workgroupBarrier();
    let number = thread / LANES;
    let lane = thread % LANES;
    for (var sweep = 0u; sweep < SWEEPS; sweep++) {
        var going = true;
        if (sweep > 0u) { going = atomicLoad(&turned[sweep - 1u]) != 0u; }
        for (var round = 0u; round < PLAYERS - 1u; round++) {
            // The last player stays, the others go round.
            let one = select((round + number) % (PLAYERS - 1u), PLAYERS - 1u, number == 0u);
            let other = (round + PLAYERS - 1u - number) % (PLAYERS - 1u);
            let p = min(one, other);
            let q = max(one, other);
            let at_work = going && q < WIDTH;
            if (at_work) {
                var sums = vec3<f32>();
                for (var r = lane; r < LENGTH; r += LANES) {
                    let x = tile[p * STRIDE + r];
                    let y = tile[q * STRIDE + r];
                    sums = fma(vec3<f32>(x, y, x), vec3<f32>(x, y, y), sums);
                }
                parts[thread] = sums.x;
                parts[THREADS + thread] = sums.y;
                parts[2u * THREADS + thread] = sums.z;
            }
            workgroupBarrier();
            if (at_work) {
                var sums = vec3<f32>();
                for (var i = number * LANES; i < (number + 1u) * LANES; i++) {
                    sums += vec3<f32>(parts[i], parts[THREADS + i], parts[2u * THREADS + i]);
                }
                let turn = turn_of(sums.x, sums.y, sums.z, LENGTH);
                if (turn.turned) {
                    for (var r = lane; r < TILE_LENGTH; r += LANES) {
                        let both = turn_pair(turn, tile[p * STRIDE + r], tile[q * STRIDE + r]);
                        tile[p * STRIDE + r] = both.x;
                        tile[q * STRIDE + r] = both.y;
                    }
                    turn_stored(turn, matrix, p, q, lane);
                    if (lane == 0u) { atomicStore(&turned[sweep], 1u); }
                }
            }
            meet();
        }
    }
    for (var i = thread; i < LENGTH * WIDTH; i += THREADS) {
        columns[first + i] = tile[i / LENGTH * STRIDE + i % LENGTH];
    }
    for (var i = thread; i < WIDTH * (TILE_LENGTH - LENGTH); i += THREADS) {
        store_turn(matrix * (WIDTH * WIDTH) + i, tile[i / WIDTH * STRIDE + LENGTH + i % WIDTH]);
    }
}
