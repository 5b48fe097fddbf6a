// One workgroup goes through the tracks twice. First every track that asks for an unknown pixel writes its number there, and
// the lowest stays; then the tracks whose number stayed are listed, in their order, by prefix sums.
//
// Header: THREADS (a power of two), CLAIM (numbers of tracks are written on top of this; answers are below it).

struct Params { tracks: u32, pixels: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> known: array<atomic<u32>>;
@group(0) @binding(1) var<storage, read> pixels: array<u32>;
@group(0) @binding(2) var<storage, read> is_active: array<u32>;
@group(0) @binding(3) var<storage, read_write> asked: array<u32>;
@group(0) @binding(4) var<storage, read_write> count: array<u32>;

var<workgroup> sums: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
    for (var track = thread; track < params.tracks; track += THREADS) {
        let pixel = pixels[track];
        if (is_active[track] != 0u && pixel < params.pixels) {
            atomicMin(&known[pixel], CLAIM + track);
        }
    }
    storageBarrier();
    var before = 0u;
    for (var first = 0u; first < params.tracks; first += THREADS) {
        let track = first + thread;
        var pixel = 0u;
        var asks = 0u;
        if (track < params.tracks) {
            pixel = pixels[track];
            if (is_active[track] != 0u && pixel < params.pixels) {
                asks = u32(atomicLoad(&known[pixel]) == CLAIM + track);
            }
        }
        sums[thread] = asks;
        for (var reach = 1u; reach < THREADS; reach *= 2u) {
            workgroupBarrier();
            var other = 0u;
            if (thread >= reach) {
                other = sums[thread - reach];
            }
            workgroupBarrier();
            sums[thread] += other;
        }
        workgroupBarrier();
        if (asks != 0u) {
            asked[before + sums[thread] - 1u] = pixel;
        }
        before += sums[THREADS - 1u];
        workgroupBarrier();
    }
    if (thread == 0u) {
        count[0] = before;
    }
}
