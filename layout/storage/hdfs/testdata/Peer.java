import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/** Moves objects with Hadoop's own client. A line "up|down folder size objects atOnce" is answered by nanoseconds, and those of CPU. */
public class Peer {
  public static void main(String[] args) throws Exception {
    Configuration conf = new Configuration();
    conf.addResource("hdfs-site.xml");
    // The default waits 400 ms after the first "not yet" of a NameNode.
    conf.set("dfs.client.block.write.locateFollowingBlock.initial.delay.ms", "1");
    FileSystem fs = FileSystem.get(conf);
    byte[] bytes = new byte[1 << 20];
    new Random(1).nextBytes(bytes);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    System.out.println("ready");
    var os = (com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean();
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] w = line.split(" ");
      boolean up = w[0].equals("up");
      long size = Long.parseLong(w[2]);
      int objects = Integer.parseInt(w[3]);
      ExecutorService pool = Executors.newFixedThreadPool(Integer.parseInt(w[4]));
      long begun = System.nanoTime(), cpu = os.getProcessCpuTime();
      List<Future<Long>> all = new ArrayList<>();
      for (int i = 0; i < objects; i++) {
        Path path = new Path(w[1] + "/" + i);
        all.add(pool.submit(up ? write(fs, path, bytes, size) : read(fs, path)));
      }
      for (Future<Long> f : all) {
        if (f.get() != size) {
          throw new IllegalStateException("moved " + f.get() + " bytes of " + size);
        }
      }
      pool.shutdown();
      System.out.println((System.nanoTime() - begun) + " " + (os.getProcessCpuTime() - cpu));
    }
  }

  static Callable<Long> write(FileSystem fs, Path path, byte[] bytes, long size) {
    return () -> {
      try (FSDataOutputStream out = fs.create(path, true)) {
        for (long left = size; left > 0; left -= bytes.length) {
          out.write(bytes, 0, (int) Math.min(left, bytes.length));
        }
      }
      return size;
    };
  }

  static Callable<Long> read(FileSystem fs, Path path) {
    return () -> {
      byte[] buffer = new byte[1 << 20];
      long total = 0;
      try (FSDataInputStream in = fs.open(path)) {
        for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
          total += n;
        }
      }
      return total;
    };
  }
}
