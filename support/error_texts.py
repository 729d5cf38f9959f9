"""Error texts of scrapers and their tools, with and without credentials."""

HARMLESS = {
    # Selectors
    "playwright strict mode": """\
page.click: Error: strict mode violation: locator('xpath=(//div[@role="article"])[1]') resolved to 2 elements:
    1) <div role="article" class="x1">…</div> aka page.getByRole('article').first()
    2) <div role="article">…</div> aka locator('xpath=//div[@id="b"]//span[@class="y"]')""",
    "playwright timeout": """\
page.waitForSelector: Timeout 30000ms exceeded.
Call log:
  - waiting for locator('xpath=(//div[@role="article"])[1]') to be visible
  - waiting for navigation to "https://shop.example/@vendor/p?mail=a@b.example" until "load\"""",
    "playwright password field": """\
TimeoutError: locator.fill: Timeout 5000ms exceeded.
Call log:
  - waiting for locator('input[name="password"]')
  - locator resolved to <input type="password" name="password" id="pwd" autocomplete="current-password"/>
  - fill("***") on input[type=password]:visible >> nth=0""",
    "playwright target": "browserType.launch: Executable doesn't exist at /home/scraper/.cache/ms-playwright/chromium-1091/chrome",
    "playwright net": 'page.goto: net::ERR_NAME_NOT_RESOLVED at https://shop.example/a?b=c#d\n=====\nnavigating to "https://shop.example/a", waiting until "load"',
    "playwright cookie": "browserContext.addCookies: Cookie should have a url or a domain/path pair",
    "playwright cookies option": "cookies[0].sameSite: expected one of (Strict|Lax|None)",
    "selenium no such element": """\
Message: no such element: Unable to locate element: {"method":"xpath","selector":"//*[@id='token']/a[contains(@href,'//cdn')]/@href"}
  (Session info: chrome=120.0.6099.109); For documentation on this error, please visit: https://www.selenium.dev/documentation/
Stacktrace:
#0 0x55d0 <unknown>""",
    "selenium css": 'Message: no such element: {"method":"css selector","selector":"input[data-token=\\"abc\\"] ~ a[href^=\'//\']"}',
    "selenium cookie": "Message: invalid cookie domain: Cookie 'domain' mismatch\n  (Session info: chrome=120)",
    "selenium set cookie": "Message: unable to set cookie\n  (Session info: headless chrome=120.0)",
    "selenium session": "selenium.common.exceptions.InvalidSessionIdException: Message: invalid session id",
    "xpath attribute": "//input[@token='x']/following::a[@password=\"y\"]/@secret",
    "xpath element": "invalid expression: //login[password='x'][token=\"y\"]//svg:rect[@id]",
    "xpath axes": "descendant-or-self::node()//a[@href]/ancestor::*[@class='k']//@data-token",
    "css attribute": 'div.login[data-api-key="k"] > a[token=abc], [data-secret="s"] *[password="p"]',
    "lxml xpath": "lxml.etree.XPathEvalError: Invalid predicate: //div[@class='a'//a[@href]",
    "parsel": "ValueError: XPath error: Invalid expression in //a[contains(@href, 'http://x']/@href",
    "cssselect": "cssselect.parser.SelectorSyntaxError: Expected selector, got <DELIM '=' at 3>",
    "cssselect token": "Expected ident or '*', got <IDENT 'token' at 4>",
    "soupsieve": "soupsieve.util.SelectorSyntaxError: Invalid character '=' position 4\n  line 1:\n[a=b==c]\n    ^",
    "jquery": "Syntax error, unrecognized expression: [data-token=]",
    # Parsers
    "v8 equals": "Unexpected token = in JSON at position 4",
    "v8 word": "SyntaxError: Unexpected token o in JSON at position 1",
    "v8 html": "SyntaxError: Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
    "v8 new equals": "SyntaxError: Unexpected token '=', \"a=b\" is not valid JSON",
    "v8 end": "SyntaxError: Unexpected end of JSON input",
    "v8 identifier": "SyntaxError: Unexpected token: name «password», expected: punc «;»",
    "v8 punctuation": "SyntaxError: Unexpected token: punc (=)\n    at JS_Parse_Error.get (eval at <anonymous>)",
    "firefox": "JSON.parse: unexpected character at line 1 column 1 of the JSON data",
    "python json": "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    "python syntax": '  File "<string>", line 1\n    token = = 3\n            ^\nSyntaxError: invalid syntax',
    "go json": "invalid character '<' looking for beginning of value",
    "go unmarshal": "json: cannot unmarshal string into Go struct field Login.password of type int",
    "jackson": "com.fasterxml.jackson.core.JsonParseException: Unrecognized token 'abc': was expecting (JSON String, Number, Array)",
    "jackson equals": "Unrecognized token 'token': was expecting ('true', 'false' or 'null')\n at [Source: (String)\"token\"; line: 1, column: 7]",
    "rust serde": "expected `:` at line 1 column 9",
    "php": 'PHP Parse error:  syntax error, unexpected token "=", expecting variable in /app/a.php on line 3',
    "postgres syntax": 'syntax error at or near "token"\nLINE 1: SELECT a token token\n                       ^',
    "yaml": 'yaml.scanner.ScannerError: while scanning for the next token\nfound character \'\\t\' that cannot start any token\n  in "a.yaml", line 3',
    "jinja": "jinja2.exceptions.TemplateSyntaxError: expected token 'end of print statement', got '='",
    "esprima": "Error: Line 1: Unexpected token =",
    "esprima colon": "Error: Line 2: Unexpected token :",
    "xml": "not well-formed (invalid token): line 1, column 7",
    "expat": "xml.parsers.expat.ExpatError: not well-formed (invalid token): line 3, column 12",
    "graphql": 'Syntax Error: Expected Name, found "=".\n\nGraphQL request:2:9',
    "pandas": "pandas.errors.ParserError: Error tokenizing data. C error: Expected 3 fields in line 5, saw 4",
    "pandas key": "KeyError: \"['token', 'password'] not in index\"",
    # HTTP clients
    "requests": "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='shop.example', port=443): Max retries exceeded with url: /a?b=1 (Caused by NewConnectionError('<urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish a new connection: [Errno -2] Name or service not known'))",
    "requests status": "401 Client Error: Unauthorized for url: https://api.example.com/v1/items?page=2",
    "urllib3": "urllib3.exceptions.ProtocolError: ('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
    "aiohttp": "aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host shop.example:443 ssl:default [Connect call failed ('1.2.3.4', 443)]",
    "aiohttp cookies": "Can not load response cookies: Illegal key 'a b'",
    "httpx": "httpx.ConnectTimeout: timed out\nRequest: GET https://shop.example/",
    "httpx scheme": "httpx.UnsupportedProtocol: Request URL is missing an 'http://' or 'https://' protocol.",
    "node fetch": "TypeError: fetch failed\n    at node:internal/deps/undici/undici:12345:11 {\n  [cause]: Error: getaddrinfo ENOTFOUND shop.example\n}",
    "node modules": "Error: Cannot find module '@scope/pkg@1.2.3'\nRequire stack:\n- /app/node_modules/@babel/core/lib/index.js",
    "vite": "Failed to load http://localhost:5173/@vite/client and http://127.0.0.1:3000/@fs/app/a.js",
    "cdn": "404 for https://cdn.jsdelivr.net/npm/react@18.2.0/umd/react.js, https://www.google.com/maps/@52.5,13.4,15z",
    "markdown": "see [the docs](https://docs.example)[@user] and (https://x.example),@b",
    "challenge": 'HTTP 401\nWWW-Authenticate: Bearer realm="https://auth.example", error="invalid_token"\nWWW-Authenticate: Basic realm="x"',
    "bearer": "The bearer token is invalid. Bearer authentication failed; bearer token required, send a Bearer header.",
    "oauth": '{"error":"invalid_token","error_description":"The access token expired","token_type":"Bearer"}',
    "authorization": "Authorization: required\nauthorization: missing, or not a Bearer scheme",
    "authorization placeholder": "Set the header 'Authorization: Bearer <token>' (or Authorization: Bearer {token})",
    "s3": "An error occurred (AuthorizationHeaderMalformed) when calling the GetObject operation: The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
    "scrapy": "2024-01-01 10:00:00 [scrapy.core.scraper] ERROR: Error downloading <GET https://shop.example/a>: User timeout caused connection failure",
    "twisted": "[<twisted.python.failure.Failure twisted.internet.error.ConnectionLost: Connection to the other side was lost in a non-clean fashion.>]",
    "robots": "Forbidden by robots.txt: <GET https://shop.example/user/@me>",
    "basic": "basic authentication is not supported; a basic HttpResponseMessage, see Basic usage/examples/README",
    # Databases and clouds
    "psycopg": 'psycopg2.OperationalError: connection to server at "db.example" (10.0.0.1), port 5432 failed: FATAL:  password authentication failed for user "scraper"',
    "psycopg none": "fe_sendauth: no password supplied",
    "mysql": "(1045, \"Access denied for user 'root'@'localhost' (using password: YES)\")",
    "mysql no": "Access denied for user 'root'@'10.0.0.1' (using password: NO)",
    "redis": "redis.exceptions.AuthenticationError: invalid username-password pair or user is disabled.",
    "mongo": "pymongo.errors.OperationFailure: Authentication failed., full error: {'ok': 0.0, 'errmsg': 'Authentication failed.', 'code': 18}",
    "boto arn": "AccessDeniedException: User: arn:aws:iam::123456789012:user/bob is not authorized to perform: secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-AbCdEf",
    "boto": "botocore.exceptions.ClientError: An error occurred (SignatureDoesNotMatch) when calling the PutObject operation: The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    "boto credentials": "botocore.exceptions.NoCredentialsError: Unable to locate credentials",
    "kubernetes": 'Error: secret "db" not found\nsecrets "token-x" is forbidden: User "system:serviceaccount:a:b" cannot get resource "secrets"',
    "passwd": "cat: /etc/passwd: Permission denied\nopen /run/secrets/db_password: no such file or directory\n/var/run/secrets/token: no such file",
    "pwd": "PWD=/app/src OLDPWD=/root\npwd: /app\npwd=~/jobs",
    "ssh": "bob@host: Permission denied (publickey,password).",
    "git": "fatal: could not read Password: terminal prompts disabled; git+ssh://git@github.com/a/b.git@v1",
    "sudo": "sudo: a terminal is required to read the password; either use the -S option",
    # Validation
    "own": "Invalid api_key: must be a string; Invalid password: must not be empty; token: required",
    "django": '{"password": ["This field is required."], "token": "Invalid value.", "secret": null, "api_key": ""}',
    "pydantic": "1 validation error for Settings\napi_key\n  Field required [type=missing, input_value={'password': None}, input_type=dict]",
    "marshmallow": "{'password': ['Missing data for required field.'], 'secret': ['Not a valid string.']}",
    "schema": '{"password": {"type": "string", "minLength": 8}, "token": {"$ref": "#/a"}, "secret": []}',
    "swagger": "password: string\ntoken: Optional[str] = None\nsecret: bool = False",
    "typescript": "Property 'token' does not exist on type '{ password: string; }'. TS2339",
    "max tokens": "This model's maximum context length is 4096 tokens; max_tokens=5000, tokens: 5200",
    # Code
    "python traceback": """\
Traceback (most recent call last):
  File "/app/spider.py", line 12, in parse
    token = response.json()["token"]
            ~~~~~~~~~~~~~~~^^^^^^^^^
KeyError: 'token'""",
    "python arguments": """\
    self.client = Client(token=self.token, password=settings.PASSWORD, api_key=api_key, secret=os.environ["SECRET"])
    password = getpass.getpass("Password: ")
    headers = {"Authorization": f"Bearer {token}"}
    if token == expected and secret != given:
TypeError: login() got an unexpected keyword argument 'password'""",
    "javascript": """\
ReferenceError: token is not defined
    at tokens.filter (token => token.type === 'x')
    const token = await getToken();
    const { password } = req.body; login({ token, password: password, secret: process.env.SECRET });
    this.token = null; token === other""",
    "go": 'token := os.Getenv("TOKEN")\npanic: runtime error: invalid memory address',
    "c++": "error: 'Token' in 'class token::kind' names a type; secret://x",
    "shell": "curl: (3) URL using bad/illegal format; API_KEY=$API_KEY TOKEN=${TOKEN} sh run.sh --password=%s",
    "format": "cannot format: password=%(password)s token={token} secret={{ secret }}",
    "java": "java.lang.IllegalArgumentException: Illegal base64 character 3d\n\tat org.a.Token.parse(Token.java:12)",
    "masked": "GET https://***@shop.example/?token=***&page=2 with password='***' and Bearer ***",
    "base64": "cursor eyJpZCI6MTIzLCJhIjoiYiJ9 is over; data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==",
    "ids": "job 0190f3a0-0000-7000-8000-000000000000, sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "pem": "Could not deserialize key data: expected -----BEGIN PRIVATE KEY----- at the start of the file",
    "html": '<input type="password" name="token"><a href="//cdn.example/@a">x</a>',
    "mail": "mail bob@shop.example, mailto:bob@shop.example or sip:bob@shop.example",
    "words": "Basic checks passed, basic token bucket: the secret of a good password is its length.",
}  # fmt: skip

S = "kJ8vQ2xZtW5rLm9s"
"""The secret in each of the texts below."""

BASIC = "Ym9iOmtKOHZRMnhadFc1ckxtOXM="  # bob:kJ8vQ2xZtW5rLm9s in Base64
JWT = f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx{S}.dBjftJeZ4CVP{S}"
LONG = S * 3

# Each text, and its stored form.
SECRET = {
    # URLs
    "url": (f"GET https://bob:{S}@shop.example:8443/a?b=c failed", "GET https://***@shop.example:8443/a?b=c failed"),
    "url in xpath": (f"//a[@href='http://u:{S}@h.example/x']/@id", "//a[@href='http://***@h.example/x']/@id"),
    "url token": (f"git clone https://{S}@github.com/a/b.git", "git clone https://***@github.com/a/b.git"),
    "url at sign": (f"https://bob:p@{S}@shop.example/", "https://***@shop.example/"),
    "url slash": (f"postgres://bob:{S}/x#y@db.example/jobs", "postgres://***@db.example/jobs"),
    "url port": (f"could not parse redis://:{S}@cache:6379/0.", "could not parse redis://***@cache:6379/0."),
    "url proxy": (
        f"ProxyError(MaxRetryError('socks5h://bob:{S}@10.0.0.1:1080'))",
        "ProxyError(MaxRetryError('socks5h://***@10.0.0.1:1080'))",
    ),
    "url two": (f"http://a:{S}@b.example,http://c:{S}@[::1]/", "http://***@b.example,http://***@[::1]/"),
    "mongo": (f"mongodb+srv://bob:{S}@c0.example/?w=1", "mongodb+srv://***@c0.example/?w=1"),
    "sqlalchemy": (
        f"(Background: postgresql+psycopg2://bob:{S}@db:5432/jobs?sslmode=require)",
        "(Background: postgresql+psycopg2://***@db:5432/jobs?sslmode=require)",
    ),
    # Header fields
    "bearer": (f"sent Bearer {S}, got 401", "sent Bearer ***, got 401"),
    "bearer token": (f"the bearer token: {S} was refused", "the bearer token: *** was refused"),
    "bearer quoted": (f'{{"auth": "Bearer {S}", "n": 1}}', '{"auth": "Bearer ***", "n": 1}'),
    "basic": (f"sent Basic {BASIC} to it", "sent Basic *** to it"),
    "authorization": (f"Authorization: Bearer {S}\nAccept: */*", "Authorization: ***\nAccept: */*"),
    "authorization repr": (
        f"{{'Authorization': 'Bearer {S}', 'Accept': '*/*'}}", "{'Authorization': '***', 'Accept': '*/*'}",
    ),
    "authorization json": (f'{{"authorization":"Basic {BASIC}","n":1}}', '{"authorization":"***","n":1}'),
    "authorization curl": (
        f"curl -H 'Authorization: Bearer {S}' -H 'Accept: */*' https://a.example",
        "curl -H 'Authorization: ***' -H 'Accept: */*' https://a.example",
    ),
    "authorization curl two": (
        f'curl -H "Authorization: {S}" -H "Cookie: sid={S}" https://a.example',
        'curl -H "Authorization: ***" -H "Cookie: ***" https://a.example',
    ),
    "authorization bytes": (
        f"b'GET / HTTP/1.1\\r\\nAuthorization: Basic {BASIC}\\r\\nHost: a\\r\\n'",
        "b'GET / HTTP/1.1\\r\\nAuthorization: ***\\r\\nHost: a\\r\\n'",
    ),
    "authorization scrapy": (
        f"Headers({{b'Authorization': [b'Bearer {S}'], b'Accept': [b'*/*']}})",
        "Headers({b'Authorization': [b'***'], b'Accept': [b'*/*']})",
    ),
    "authorization httpx": (
        f"[(b'host', b'a'), (b'authorization', b'Bearer {S}')]", "[(b'host', b'a'), (b'authorization', b'***')]",
    ),
    "authorization node": (
        f"headers: {{ Authorization: 'Bearer {S}', accept: '*/*' }}", "headers: { Authorization: '***', accept: '*/*' }",
    ),
    "authorization logfmt": (f'level=error authorization="Bearer {S}" n=1', 'level=error authorization="***" n=1'),
    "digest": (f'Authorization: Digest username="bob", response="{S}"', "Authorization: ***"),
    "cookie": (f"Cookie: sid={S}; lang=en\nHost: a", "Cookie: ***\nHost: a"),
    "set-cookie": (f"< Set-Cookie: sid={S}; Path=/; HttpOnly", "< Set-Cookie: ***"),
    "cookie json": (f'{{"cookie": "sid={S}; a=b", "n": 1}}', '{"cookie": "***", "n": 1}'),
    "cookies repr": (f"cookies={{'sid': '{S}', 'lang': 'en'}}, timeout=5", "cookies={***}, timeout=5"),
    "cookies json": (
        f'{{"cookies": [{{"name": "sid", "value": "{S}"}}], "origins": []}}', '{"cookies": [***], "origins": []}',
    ),
    "cookie jar": (
        f"<RequestsCookieJar[<Cookie sid={S} for a.example/>]>", "<RequestsCookieJar[<Cookie sid=*** for a.example/>]>",
    ),
    "document.cookie": (f'document.cookie = "sid={S}";', 'document.cookie = "***";'),
    "x-api-key": (f"X-Api-Key: {S}\nHost: a", "X-Api-Key: ***\nHost: a"),
    "x-auth-token": (f"X-Auth-Token: {S}", "X-Auth-Token: ***"),
    "auth pair": (f"get(url, auth=('bob', '{S}'), timeout=5)", "get(url, auth=('bob', '***'), timeout=5)"),
    "auth object": (f"BasicAuth(login='bob', password='{S}')", "BasicAuth(login='bob', password='***')"),
    # Names with values
    "query": (f"GET /a?token={S}&page=2 404", "GET /a?token=***&page=2 404"),
    "query last": (f'"https://a.example/?api_key={S}", line 2', '"https://a.example/?api_key=***", line 2'),
    "query in json": (f'{{"url":"https://a/?token={S}","n":1}}', '{"url":"https://a/?token=***","n":1}'),
    "json": (f'{{"password": "{S}", "user": "bob"}}', '{"password": "***", "user": "bob"}'),
    "json compact": (f'{{"access_token":"{S}","expires_in":3600}}', '{"access_token":"***","expires_in":3600}'),
    "json in json": (f'{{"body": "{{\\"token\\": \\"{S}\\"}}"}}', '{"body": "{\\"token\\": \\"***\\"}"}'),
    "json list": (f'{{"password": ["{S}"]}}', '{"password": ["***"]}'),
    "yaml": (f"user: bob\npassword: {S}\nport: 1", "user: bob\npassword: ***\nport: 1"),
    "yaml token": (f"auth_token: {S}", "auth_token: ***"),
    "bare token": (f"token: {S}", "token: ***"),
    "environment": (f"DB_PASSWORD={S} PGPORT=1", "DB_PASSWORD=*** PGPORT=1"),
    "export": (f"export AWS_SECRET_ACCESS_KEY='{S}'", "export AWS_SECRET_ACCESS_KEY='***'"),
    "ini": (f"aws_secret_access_key = {S}\nregion = x", "aws_secret_access_key = ***\nregion = x"),
    "logfmt": (f'level=error password="{S}" user=bob', 'level=error password="***" user=bob'),
    "log brackets": (f"[password={S}] login failed", "[password=***] login failed"),
    "parentheses": (f"(using token={S}), then", "(using token=***), then"),
    "python repr": (f"Config(user='bob', password='{S}', n=1)", "Config(user='bob', password='***', n=1)"),
    "python bytes": (f"{{b'password': b'{S}'}}", "{b'password': b'***'}"),
    "python code": (f'config["password"] = "{S}"', 'config["password"] = "***"'),
    "javascript": (f"{{ user: 'bob', accessToken: '{S}' }}", "{ user: 'bob', accessToken: '***' }"),
    "ruby": (f'{{"password"=>"{S}", :token=>"x"}}', '{"password"=>"***", :token=>"***"}'),
    "php": (f"[password] => {S}", "[password] => ***"),
    "go": (f"map[password:[{S}] user:[bob]]", "map[password:[***] user:[bob]]"),
    "rails": (f"user[password]={S}&a=b", "user[password]=***&a=b"),
    "libpq": (f"host=db password={S} user=bob", "host=db password=*** user=bob"),
    "odbc": (f"Server=db;Uid=sa;Pwd={S};Encrypt=yes", "Server=db;Uid=sa;Pwd=***;Encrypt=yes"),
    "azure": (f"AccountName=a;AccountKey={S}==;Suffix=b", "AccountName=a;AccountKey=***;Suffix=b"),
    "jdbc": (f"jdbc:mysql://db/x?user=a&password={S}&b=c", "jdbc:mysql://db/x?user=a&password=***&b=c"),
    "sql": (f"WHERE name='bob' AND password='{S}'", "WHERE name='bob' AND password='***'"),
    "command line": (f"psql --password={S} -h db", "psql --password=*** -h db"),
    "presigned": (f"?X-Amz-Date=1&X-Amz-Signature={S}&b=c", "?X-Amz-Date=1&X-Amz-Signature=***&b=c"),
    "shared access": (f"?sv=2020&sig={S}%3D&se=1", "?sv=2020&sig=***&se=1"),
    "invalid token": (f"invalid token={S} in the request", "invalid token=*** in the request"),
    "html": (f'<input password="{S}" id="a">', '<input password="***" id="a">'),
    "client secret": (f"client_secret={S}&grant_type=x", "client_secret=***&grant_type=x"),
    # Known by their form
    "jwt": (f"the session {JWT} is over", "the session eyJ*** is over"),
    "aws": ("AKIAIOSFODNN7EXAMPLE was refused", "AKIA*** was refused"),
    "github": (f"remote: ghp_{LONG[:36]} expired", "remote: ghp_*** expired"),
    "github fine": (f"github_pat_{LONG}", "github_pat_***"),
    "gitlab": (f"glpat-{LONG[:20]} expired", "glpat-*** expired"),
    "slack": (f"xoxb-123456789012-{S}: invalid_auth", "xoxb-***: invalid_auth"),
    "slack hook": (f"https://hooks.slack.com/services/T0/B0/{S}", "https://hooks.slack.com/services/***"),
    "stripe": (f"No such key: sk_live_{S}", "No such key: sk_live_***"),
    "google": (f"key AIza{LONG[:35]} is restricted", "key AIza*** is restricted"),
    "openai": (f"Incorrect API key provided: sk-proj-{LONG}.", "Incorrect API key provided: sk-proj-***."),
    "webhook": (f"whsec_{S}AAAAAAAA", "whsec_***"),
    "private key": (
        f"-----BEGIN RSA PRIVATE KEY-----\n{LONG}\n{LONG}==\n-----END RSA PRIVATE KEY-----\nafter",
        "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----\nafter",
    ),
    "private key in json": (
        f'{{"private_key": "-----BEGIN PRIVATE KEY-----\\n{LONG}\\n-----END PRIVATE KEY-----\\n", "n": 1}}',
        '{"private_key": "***", "n": 1}',
    ),
}  # fmt: skip
