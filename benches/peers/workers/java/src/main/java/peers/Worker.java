package peers;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.stream.Stream;

/** Measures one job, or lists the peers. Standard output carries JSON only, one object a line. */
public final class Worker {
    private static final ObjectMapper JSON =
            new ObjectMapper().enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES);

    private static final List<Peer.Entry> PEERS =
            Stream.of(RedisLockPeer.ENTRIES, RedissonPeer.ENTRIES).flatMap(List::stream).toList();

    private final PrintStream out;

    private Worker(PrintStream out) {
        this.out = out;
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err); // Whatever a library prints.
        if (args.length != 1) {
            System.err.println("usage: worker <job in JSON | peers>");
            System.exit(2);
        }
        Worker worker = new Worker(out);
        if (args[0].equals("peers")) {
            worker.print(PEERS.stream().map(Peer.Entry::about).toList());
            return;
        }
        boolean well = worker.measure(JSON.readValue(args[0], Job.class));
        // Threads that hang on a dead server must not keep the process.
        Runtime.getRuntime().halt(well ? 0 : 1);
    }

    private boolean measure(Job job) throws IOException {
        Peer.Entry entry =
                PEERS.stream()
                        .filter(e -> e.about().peer().equals(job.peer()))
                        .filter(e -> e.about().row().equals(job.row()))
                        .findFirst()
                        .orElse(null);
        if (entry == null) {
            print(result(job, null, null, "no such peer and row"));
            return false;
        }
        Run run = null;
        String error = null;
        try {
            Peer peer = entry.maker().connect(job);
            run = new Run(job, peer);
            run.start();
            run.letRun(job.warmupSeconds());
            print(Map.of("event", "ready"));
            awaitGo(run);
            run.measure();
            run.stop();
            run.failed().getNow(null);
            peer.close();
        } catch (Throwable failure) {
            error = text(failure);
            failure.printStackTrace();
            stopAfterFailure(run);
        }
        print(result(job, entry.about(), run, error));
        return error == null;
    }

    private static void stopAfterFailure(Run run) {
        if (run != null) {
            try {
                run.stop();
            } catch (InterruptedException nobodyDoesThis) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** Reads on a thread of its own, so that a failing client ends this too. */
    private static void awaitGo(Run run) throws Exception {
        CompletableFuture<Void> go = new CompletableFuture<>();
        Thread reader =
                new Thread(
                        () -> {
                            try {
                                String line =
                                        new BufferedReader(
                                                        new InputStreamReader(
                                                                System.in, StandardCharsets.UTF_8))
                                                .readLine();
                                if ("go".equals(line)) {
                                    go.complete(null);
                                } else {
                                    go.completeExceptionally(
                                            new IOException("expected go, read: " + line));
                                }
                            } catch (IOException unreadable) {
                                go.completeExceptionally(unreadable);
                            }
                        },
                        "stdin");
        reader.setDaemon(true);
        reader.start();
        CompletableFuture.anyOf(go, run.failed()).get();
    }

    /** Complete also where nothing was measured, so that whoever reads it finds the error. */
    private static Map<String, Object> result(
            Job job, Peer.About about, Run run, String error) {
        Totals totals = run == null ? new Totals(job.clients()) : run.totals();
        List<Integer> perClient = totals.perClient();
        Map<String, Object> result = new LinkedHashMap<>();
        result.put("event", "result");
        if (about != null) {
            result.put("library", about.library());
            result.put("version", about.version());
            result.put("client", about.client());
            result.put("settings", about.settings());
        }
        result.put("grants", perClient.stream().mapToInt(Integer::intValue).sum());
        result.put("grants_total", totals.grantsTotal);
        result.put("per_client", perClient);
        result.put("elapsed_s", run == null ? 0 : run.spanNanos() / 1e9);
        result.put("gave_up", run == null ? 0 : run.gaveUp());
        result.put("violations", totals.violations);
        result.put("section_us_mean", totals.sectionMicrosMean());
        result.put("wait_us", totals.waitMicros());
        result.put("wait_by_client_us", totals.waitMicrosByClient());
        result.put("pending", totals.pending.size());
        result.put("handoff_us", job.contended() ? Quantiles.of(totals.handoffs) : null);
        result.put("overtakes", totals.overtakes);
        result.put("errors", run == null ? 1 : run.errors());
        result.put("error", error);
        return result;
    }

    private static String text(Throwable failure) {
        Throwable cause = failure;
        while (cause instanceof ExecutionException
                || cause instanceof CompletionException) {
            cause = cause.getCause();
        }
        return cause.toString();
    }

    private void print(Object event) throws IOException {
        out.println(JSON.writeValueAsString(event));
        out.flush();
    }
}
