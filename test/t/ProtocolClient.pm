# A client that shows each message that the server sends, which libpq does not:
# in which response a parameter's new value comes.
package ProtocolClient;

use strict;
use warnings;

use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

# Minor versions of before 2025 have no raw_connect.
sub _connect
{
	my ($node) = @_;

	return $node->raw_connect if $node->can('raw_connect');
	my $path = $node->host . '/.s.PGSQL.' . $node->port;
	return IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path)
	  // die "could not connect to $path: $!";
}

# Connects as the user to a database of the node.
sub new
{
	my ($class, $node, $user, $database) = @_;
	my $self = bless {
		socket => _connect($node),
		parameters => {},
		buffer => ''
	}, $class;
	my $body = pack('N', 3 << 16);

	$body .= "user\0$user\0database\0" . ($database // 'postgres') . "\0\0";
	$self->_write(pack('N', 4 + length $body) . $body);
	$self->{startup} = $self->response;
	return $self;
}

sub _write
{
	my ($self, $bytes) = @_;

	local $SIG{PIPE} = 'IGNORE';
	while (length $bytes)
	{
		my $written = syswrite($self->{socket}, $bytes);
		die "could not write: $!" unless $written;
		substr($bytes, 0, $written) = '';
	}
}

# Reads until there are so many bytes; false if the server closes before.
sub _fill
{
	my ($self, $length) = @_;
	my $timer = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default);

	$timer->start;
	while (length $self->{buffer} < $length)
	{
		my $ready = '';

		die "timed out waiting for the server" if $timer->is_expired;
		vec($ready, fileno $self->{socket}, 1) = 1;
		next unless select($ready, undef, undef, 1) > 0;
		return 0
		  unless sysread($self->{socket}, $self->{buffer}, 65536,
			length $self->{buffer});
	}
	return 1;
}

# The messages up to and with the next ReadyForQuery, or the server's end of
# the connection, which is a message of type END.  Each is a hash: type; of an
# ErrorResponse or NoticeResponse its fields by letter; of a ParameterStatus
# name and value; of a DataRow its columns; of ReadyForQuery its state.
sub response
{
	my ($self) = @_;
	my @messages;

	for (;;)
	{
		return [ @messages, { type => 'END' } ] unless $self->_fill(5);
		my ($type, $length) = unpack 'aN', $self->{buffer};
		return [ @messages, { type => 'HALF' } ]
		  unless $self->_fill($length + 1);
		my $body = substr $self->{buffer}, 5, $length - 4;
		substr($self->{buffer}, 0, $length + 1) = '';

		my %message = (type => $type);
		if ($type eq 'S')
		{
			@message{qw(name value)} = split /\0/, $body;
			$self->{parameters}{ $message{name} } = $message{value};
		}
		elsif ($type eq 'E' || $type eq 'N')
		{
			foreach my $field (split /\0/, $body)
			{
				$message{$1} = $2 if $field =~ /^(.)(.*)$/s;
			}
		}
		elsif ($type eq 'D')
		{
			$message{columns} = [ unpack 'x2(N/a)*', $body ];
		}
		elsif ($type eq 'Z')
		{
			$message{state} = $body;
		}
		push @messages, \%message;
		return \@messages if $type eq 'Z';
	}
}

# What came of the status parameter in a response: "value" for each.
sub statuses
{
	my ($response) = @_;

	return join ' ', map { $_->{value} }
	  grep { $_->{type} eq 'S' && $_->{name} eq 'pg_session_memory.status' }
	  @$response;
}

# The types of a response's messages, in order.
sub types
{
	my ($response) = @_;

	return join '', map { $_->{type} } @$response;
}

sub _message
{
	my ($type, $body) = @_;

	return $type . pack('N', 4 + length $body) . $body;
}

# The message of a simple query.
sub simple
{
	my ($query) = @_;

	return _message('Q', "$query\0");
}

# A simple query, and its response.
sub query
{
	my ($self, $query) = @_;

	$self->_write(simple($query));
	return $self->response;
}

# Single messages of the extended protocol: a statement by its name, a portal
# of it without parameters, and so many rows of that (0: all).
sub parse
{
	my ($statement, $query) = @_;

	return _message('P', "$statement\0$query\0" . pack('n', 0));
}

sub bind_portal
{
	my ($portal, $statement) = @_;

	return _message('B', "$portal\0$statement\0" . pack('n3', 0, 0, 0));
}

sub execute_portal
{
	my ($portal, $rows) = @_;

	return _message('E', "$portal\0" . pack('N', $rows));
}

# The messages of one statement in the extended protocol; without a Sync.
sub extended
{
	my ($query) = @_;

	return parse('', $query) . bind_portal('', '') . execute_portal('', 0);
}

# The messages one by one: of a statement with a name, '' for the unnamed one, with
# text parameters, in the unnamed portal.
sub execute
{
	my ($name, @parameters) = @_;

	return _message(
		'B',
		"\0$name\0"
		  . pack('n2', 0, scalar @parameters)
		  . join('', map { pack('N', length) . $_ } @parameters)
		  . pack('n', 0)) . _message('E', "\0" . pack('N', 0));
}

sub sync
{
	return _message('S', '');
}

# Sends messages in one go.
sub send
{
	my ($self, @messages) = @_;

	$self->_write(join '', @messages);
}

sub close
{
	my ($self) = @_;

	$self->_write(_message('X', ''));
	close $self->{socket};
}

1;
