package redislock.internal;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.LongSupplier;

/**
 * A clock that also goes on while the machine sleeps. {@code System.nanoTime} may stand still then. Linux tells the
 * time since the start of the machine, sleep included, in /proc/uptime, to 10 ms. Elsewhere the wall clock shows how
 * long the machine slept.
 *
 * <p>The clock is nanoTime, and it jumps ahead when the other clock has moved on by more than its resolution explains.
 */
public final class LeaseClock {
    private static final Path UPTIME = Path.of("/proc/uptime");

    /** How far the other clock may run ahead without a sleep. */
    private static final long TOLERANCE = 60_000_000L;

    private static final long WALL_TOLERANCE = 2_000_000_000L;

    private final LongSupplier nanos;
    private final LongSupplier other;
    private final long tolerance;

    /** The other clock's lead over nanoTime, sleeps included that are accounted for. */
    private long lead;

    private long slept;

    /**
     * Makes a clock.
     *
     * @param nanos like System.nanoTime
     * @param other nanoseconds on a clock that goes on while the machine sleeps
     * @param tolerance nanoseconds by which the other clock may seem to be ahead
     */
    public LeaseClock(LongSupplier nanos, LongSupplier other, long tolerance) {
        this.nanos = nanos;
        this.other = other;
        this.tolerance = tolerance;
        this.lead = other.getAsLong() - nanos.getAsLong();
    }

    /** The clock of this machine. */
    public static LeaseClock system() {
        return of(UPTIME);
    }

    /**
     * The clock that reads a file like /proc/uptime.
     *
     * @param uptime a file that begins with a number of seconds
     */
    public static LeaseClock of(Path uptime) {
        if (Files.isReadable(uptime)) {
            try {
                return new LeaseClock(System::nanoTime, new Uptime(uptime), TOLERANCE);
            } catch (IOException | IllegalStateException unreadable) {
                System.getLogger("redislock").log(System.Logger.Level.DEBUG, "cannot read " + uptime, unreadable);
            }
        }
        return new LeaseClock(System::nanoTime, () -> System.currentTimeMillis() * 1_000_000L, WALL_TOLERANCE);
    }

    /** Nanoseconds since some moment. */
    public synchronized long now() {
        long now = nanos.getAsLong();
        long ahead = other.getAsLong() - now - lead;
        if (ahead > tolerance) {
            slept += ahead;
            lead += ahead;
        } else if (ahead < -tolerance) {
            // Somebody set the wall clock back.
            lead += ahead;
        }
        return now + slept;
    }

    private static final class Uptime implements LongSupplier {
        private final RandomAccessFile file;
        private final byte[] buffer = new byte[64];

        Uptime(Path path) throws IOException {
            file = new RandomAccessFile(path.toFile(), "r");
            getAsLong();
        }

        @Override
        public synchronized long getAsLong() {
            try {
                file.seek(0);
                int length = file.read(buffer);
                String text = new String(buffer, 0, Math.max(0, length), StandardCharsets.US_ASCII);
                int end = text.indexOf(' ') < 0 ? text.trim().length() : text.indexOf(' ');
                return Math.round(Double.parseDouble(text.substring(0, end)) * 1e9);
            } catch (IOException | NumberFormatException unreadable) {
                throw new IllegalStateException("the time since the start of the machine is unreadable", unreadable);
            }
        }
    }
}
