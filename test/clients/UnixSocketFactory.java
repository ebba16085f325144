import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import javax.net.SocketFactory;

/**
 * Has pgjdbc connect to a socket in the file system, since the tests' servers
 * listen on no port.
 *
 * As socketFactory in the URL, with the socket's file as socketFactoryArg.
 */
public class UnixSocketFactory extends SocketFactory
{
	private final String file;

	public UnixSocketFactory(String file)
	{
		this.file = file;
	}

	@Override
	public Socket createSocket()
	{
		return new UnixSocket();
	}

	@Override
	public Socket createSocket(String host, int port)
	{
		return createSocket();
	}

	@Override
	public Socket createSocket(String host, int port, InetAddress local, int localPort)
	{
		return createSocket();
	}

	@Override
	public Socket createSocket(InetAddress host, int port)
	{
		return createSocket();
	}

	@Override
	public Socket createSocket(InetAddress host, int port, InetAddress local, int localPort)
	{
		return createSocket();
	}

	/** A socket has the options that TCP has, and ignores them. */
	private class UnixSocket extends Socket
	{
		private SocketChannel channel;

		@Override
		public void connect(SocketAddress address, int timeout) throws IOException
		{
			channel = SocketChannel.open(StandardProtocolFamily.UNIX);
			channel.connect(UnixDomainSocketAddress.of(file));
		}

		@Override
		public InputStream getInputStream()
		{
			return Channels.newInputStream(channel);
		}

		@Override
		public OutputStream getOutputStream()
		{
			return Channels.newOutputStream(channel);
		}

		@Override
		public boolean isConnected()
		{
			return channel != null && channel.isConnected();
		}

		@Override
		public boolean isClosed()
		{
			return channel != null && !channel.isOpen();
		}

		@Override
		public void close() throws IOException
		{
			if (channel != null)
				channel.close();
		}

		@Override
		public void setTcpNoDelay(boolean on)
		{
		}

		@Override
		public void setKeepAlive(boolean on)
		{
		}

		@Override
		public void setSoTimeout(int timeout)
		{
		}

		@Override
		public int getSoTimeout()
		{
			return 0;
		}

		@Override
		public int getSendBufferSize()
		{
			return 8192;
		}
	}
}
