package redislock.internal;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** The cluster slot of a key: CRC16 (XMODEM) of the key, or of what stands in its first braces. */
final class Slots {
    static final int COUNT = 16384;

    private static final int[] TABLE = new int[256];

    static {
        for (int i = 0; i < 256; i++) {
            int crc = i << 8;
            for (int bit = 0; bit < 8; bit++) {
                crc = (crc & 0x8000) == 0 ? crc << 1 : crc << 1 ^ 0x1021;
            }
            TABLE[i] = crc & 0xffff;
        }
    }

    private Slots() {}

    static int of(String key) {
        byte[] bytes = key.getBytes(StandardCharsets.UTF_8);
        int open = indexOf(bytes, '{', 0);
        if (open >= 0) {
            int close = indexOf(bytes, '}', open + 1);
            if (close > open + 1) {
                bytes = Arrays.copyOfRange(bytes, open + 1, close);
            }
        }
        int crc = 0;
        for (byte b : bytes) {
            crc = (crc << 8 ^ TABLE[(crc >> 8 ^ b) & 0xff]) & 0xffff;
        }
        return crc % COUNT;
    }

    private static int indexOf(byte[] bytes, char wanted, int from) {
        for (int i = from; i < bytes.length; i++) {
            if (bytes[i] == wanted) {
                return i;
            }
        }
        return -1;
    }
}
