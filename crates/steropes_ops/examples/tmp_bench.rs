fn main() {
    let d = steropes_tensor::Device::cpu();
    let only = std::env::args().nth(1).unwrap_or_default();
    for b in steropes_ops::benches() {
        if !b.name.contains(&only) { continue; }
        let mut f = (b.prepare)(&d);
        f();
        let mut best = f64::MAX; let mut all = vec![];
        for _ in 0..40 { let t = std::time::Instant::now(); f(); let e = t.elapsed().as_secs_f64(); best = best.min(e); all.push(e); }
        all.sort_by(f64::total_cmp);
        println!("{} min {:.3} ms median {:.3} ms  {:.1} GFLOP/s {:.1} GB/s", b.name, best*1e3, all[20]*1e3, b.flops/best/1e9, b.bytes/best/1e9);
    }
}
