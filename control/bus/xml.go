package bus

// The interfaces, as introspection shows them. A test holds them to the tables
// of methods and properties.
const (
	poolXML = ` <interface name="org.scgid1.Pool">
  <method name="Scale">
   <arg name="min_workers" type="i" direction="in"/>
   <arg name="max_workers" type="i" direction="in"/>
   <arg name="min_idle" type="i" direction="in"/>
   <arg name="max_idle" type="i" direction="in"/>
   <arg name="min_workers_now" type="i" direction="out"/>
   <arg name="max_workers_now" type="i" direction="out"/>
   <arg name="min_idle_now" type="i" direction="out"/>
   <arg name="max_idle_now" type="i" direction="out"/>
  </method>
  <method name="ResetLimits">
   <arg name="min_workers_now" type="i" direction="out"/>
   <arg name="max_workers_now" type="i" direction="out"/>
   <arg name="min_idle_now" type="i" direction="out"/>
   <arg name="max_idle_now" type="i" direction="out"/>
  </method>
  <method name="Pause">
   <arg name="limit_usec" type="t" direction="in"/>
  </method>
  <method name="Resume"/>
  <method name="Reload">
   <arg name="generation" type="u" direction="out"/>
   <arg name="notes" type="s" direction="out"/>
  </method>
  <method name="Rollback">
   <arg name="generation" type="u" direction="out"/>
   <arg name="notes" type="s" direction="out"/>
  </method>
  <method name="Upgrade">
   <arg name="generation" type="u" direction="out"/>
   <arg name="notes" type="s" direction="out"/>
  </method>
  <method name="Stop">
   <arg name="now" type="b" direction="in"/>
   <arg name="limit_usec" type="t" direction="in"/>
   <arg name="finished" type="t" direction="out"/>
   <arg name="lost" type="t" direction="out"/>
   <arg name="refused" type="t" direction="out"/>
   <arg name="took_usec" type="t" direction="out"/>
  </method>
  <method name="RetireWorker">
   <arg name="worker" type="t" direction="in"/>
  </method>
  <method name="KillWorker">
   <arg name="worker" type="t" direction="in"/>
  </method>
  <method name="DumpWorker">
   <arg name="worker" type="t" direction="in"/>
  </method>
  <signal name="WorkerExited">
   <arg name="id" type="t"/>
   <arg name="pid" type="u"/>
   <arg name="reason" type="s"/>
   <arg name="served" type="t"/>
  </signal>
  <signal name="PoolSaturated">
   <arg name="saturated" type="b"/>
  </signal>
  <signal name="StateChanged">
   <arg name="state" type="s"/>
  </signal>
  <signal name="Refused">
   <arg name="count" type="t"/>
  </signal>
  <signal name="ReloadFinished">
   <arg name="kind" type="s"/>
   <arg name="ok" type="b"/>
   <arg name="generation" type="u"/>
   <arg name="reason" type="s"/>
  </signal>
  <property name="Name" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
  <property name="Version" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
  <property name="Build" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
  <property name="PID" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
  <property name="Since" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
  <property name="State" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="Generation" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="Operation" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="MinWorkers" type="i" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="MaxWorkers" type="i" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="MinIdle" type="i" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="MaxIdle" type="i" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="Scaled" type="b" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="Workers" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="Starting" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="Retiring" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="Idle" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Busy" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Waiting" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="WaitingUSec" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="WaitingMax" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Parked" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Listeners" type="a(ssii)" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="SaturatedUSec" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="ResumesInUSec" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Active" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Served" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Refusals" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Bad" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Lost" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="ClientGone" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Starts" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="StartsFailed" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Exits" type="a{st}" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
 </interface>
`

	workerXML = ` <interface name="org.scgid1.Worker">
  <property name="ID" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
  <property name="Generation" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
  <property name="Since" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
  <property name="PID" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="State" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="Slots" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="CanDump" type="b" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="true"/>
  </property>
  <property name="Active" type="u" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Served" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="Status" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="RequestID" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="RequestUSec" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="CPUUSec" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="MemoryBytes" type="t" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
 </interface>
`

	logXML = ` <interface name="org.freedesktop.LogControl1">
  <property name="LogLevel" type="s" access="readwrite">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
   <annotation name="org.freedesktop.systemd1.Privileged" value="true"/>
  </property>
  <property name="LogTarget" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
  </property>
  <property name="SyslogIdentifier" type="s" access="read">
   <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
  </property>
 </interface>
`

	managerXML = ` <interface name="org.freedesktop.DBus.ObjectManager">
  <method name="GetManagedObjects">
   <arg name="objects" type="a{oa{sa{sv}}}" direction="out"/>
  </method>
  <signal name="InterfacesAdded">
   <arg name="object" type="o"/>
   <arg name="interfaces" type="a{sa{sv}}"/>
  </signal>
  <signal name="InterfacesRemoved">
   <arg name="object" type="o"/>
   <arg name="interfaces" type="as"/>
  </signal>
 </interface>
`

	standardXML = ` <interface name="org.freedesktop.DBus.Introspectable">
  <method name="Introspect">
   <arg name="xml" type="s" direction="out"/>
  </method>
 </interface>
 <interface name="org.freedesktop.DBus.Peer">
  <method name="Ping"/>
  <method name="GetMachineId">
   <arg name="id" type="s" direction="out"/>
  </method>
 </interface>
 <interface name="org.freedesktop.DBus.Properties">
  <method name="Get">
   <arg name="interface" type="s" direction="in"/>
   <arg name="property" type="s" direction="in"/>
   <arg name="value" type="v" direction="out"/>
  </method>
  <method name="GetAll">
   <arg name="interface" type="s" direction="in"/>
   <arg name="properties" type="a{sv}" direction="out"/>
  </method>
  <method name="Set">
   <arg name="interface" type="s" direction="in"/>
   <arg name="property" type="s" direction="in"/>
   <arg name="value" type="v" direction="in"/>
  </method>
  <signal name="PropertiesChanged">
   <arg name="interface" type="s"/>
   <arg name="changed" type="a{sv}"/>
   <arg name="invalidated" type="as"/>
  </signal>
 </interface>
`
)
